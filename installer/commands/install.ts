import { isProbe } from '../../lib/proof/sandbox.ts';
import { seconds } from '../../lib/report/format.ts';
import { type Line, type Node, pass, Refusal, type StepOf, skipped } from '../base/node.ts';
import { copiesIn, diffOf, type Edit, planEdits } from '../config/edits.ts';
import { planHandler, readSection, refuseOtherFiles } from '../config/handler-config.ts';
import { handlerTable } from '../config/own-text.ts';
import { isLoaded } from '../containerd/restart.ts';
import {
  type Installed,
  type Journal,
  readJournal,
  readJournals,
  removeJournal,
  writeJournal,
} from '../journal/journal.ts';
import { refuseRetry } from '../journal/retry.ts';
import { cgroupDriver, type Preflight, preflight, readPresent } from '../preflight/preflight.ts';
import { refuseDefault, refuseRisks } from '../preflight/risks.ts';
import {
  type Generation,
  generationAt,
  generationOf,
  readRelease,
  refuseDamage,
  stage,
} from '../release/release.ts';
import { proveCandidate } from '../steps/candidate.ts';
import { make, takeBack } from '../steps/change.ts';
import { needsRestart } from '../steps/restart.ts';
import { type Change, textsOf } from '../steps/steps.ts';
import { validate } from '../steps/validate.ts';
import { removePrograms, removeUnused } from './unused.ts';

export type InstallOptions = {
  /** Directory of the release on this machine. */
  readonly release: string;
  /** Flags of runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
  /** Also for a release that was left by a rollback. */
  readonly retryNow: boolean;
};

/**
 * Resolves once a sandbox was proven through the handler. Throws a {@link Refusal} else, and the node works
 * as before. An interrupted installation is finished, or replaced.
 */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const { root, handler } = node;
  const release = await readRelease(options.release);
  const seen = await preflight(node);
  const flags = flagsFor(seen.driver, options.flags);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  if (!options.retryNow) refuseRetry(seen.journal, { generation: directory });
  if (await needsRestart(node, generation)) await refuseRisks(node);
  if (options.dryRun) return describe(node, seen, generation);
  await takeBackOthers(node);
  await change(node, { ...seen, next: await plan(node, seen, generation) }, [
    {
      name: 'stage',
      do: async () => {
        const copied = await stage(options.release, release, { root, generation, flags });
        return copied === 0
          ? skipped(`${directory} is there, unchanged`)
          : pass(`${directory}, files: ${copied}`);
      },
    },
    {
      name: 'pre-prove',
      do: async () => {
        const isCurrent = seen.journal?.installed?.generation === directory;
        if (isCurrent && (await isLoaded(node.client, handler, generation))) return undefined;
        return preProve(node, generation);
      },
    },
  ]);
}

/** With the kubelet's systemd driver runsc must use systemd as well. */
function flagsFor(
  driver: string | undefined,
  flags: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  return new Map([...(driver === 'systemd' ? ([['systemd-cgroup', 'true']] as const) : []), ...flags]);
}

async function change(
  node: Node,
  what: Change & { readonly next: Installed },
  first: readonly StepOf[],
): Promise<void> {
  const { handler, noRestart, report } = node;
  await make(node, what, first).finally(() => removeUnused(node));
  const { release } = generationAt(what.next.generation);
  const text = noRestart
    ? `handler "${handler}" will run gVisor ${release} once containerd starts next, which is not proven`
    : `handler "${handler}" runs gVisor ${release}`;
  report({ step: 'commit', ...pass(text) });
}

async function preProve(node: Node, generation: Generation): Promise<Line> {
  const bootMs = await proveCandidate(node, generation);
  return pass(`${generation.release} booted beside the handler in ${seconds(bootMs)}, and ran a program`);
}

/** Says what an installation would do, and does nothing. */
async function describe(node: Node, seen: Preflight, generation: Generation): Promise<void> {
  const { report } = node;
  for (const { handler } of await interruptedOthers(node)) {
    const text = `would first take back what was interrupted for handler "${handler}"`;
    report({ step: 'undo', ...skipped(text) });
  }
  report({ step: 'stage', ...skipped(`would install ${generation.directory}`) });
  for (const edit of await rehearse(node, seen, generation)) {
    const verbatim = Buffer.from(diffOf(edit), 'latin1').toString();
    report({ step: 'write', ...skipped(`would change "${edit.file}":`), verbatim });
  }
  const restarts = await needsRestart(node, generation);
  report({ step: 'restart', ...skipped(`would restart containerd: ${restarts ? 'yes' : 'no'}`) });
}

/** What an installation would write, as containerd reads it in a draft; throws as that would. */
export async function rehearse(
  node: Node,
  { journal, main, containerd, config, dump }: Preflight,
  generation: Generation,
): Promise<readonly Edit[]> {
  const next = await plan(node, { config, dump }, generation);
  const edits = await planEdits(node, next.written, { texts: textsOf(journal, next), main });
  await validate(node, containerd, { edits, wanted: generation });
  return edits;
}

/**
 * For systems that render the configuration themselves: copies the programs, and prints the handler's table.
 * The programs stay until the handler is removed.
 */
export async function stageOnly(
  { root, host, client, handler, containerdConfig, report }: Node,
  source: string,
  given: ReadonlyMap<string, string>,
): Promise<void> {
  const release = await readRelease(source);
  const status = await client.status().catch(() => undefined);
  if (status === undefined && !given.has('systemd-cgroup')) {
    const next = 'if the kubelet has the systemd driver, give --flag systemd-cgroup=true';
    report({
      step: 'check',
      ...skipped(`containerd does not respond, so its cgroup driver is not known: ${next}`),
    });
  }
  const flags = flagsFor(status && (await cgroupDriver(client, status)), given);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  const journal = (await readJournal(root, handler)) ?? { format: 1, handler };
  const staged = [...new Set([...(journal.staged ?? []), directory])];
  await writeJournal(root, { ...journal, staged });
  await stage(source, release, { root, generation, flags });
  const section = await readSection(host, containerdConfig, status?.runtimeVersion);
  const verbatim = handlerTable(section, handler, generation).join('\n');
  report({ step: 'stage', ...pass(`${directory}, which this table names:`), verbatim });
}

async function plan(
  { host, handler, containerdConfig, report }: Node,
  { config, dump }: Pick<Preflight, 'config' | 'dump'>,
  generation: Generation,
): Promise<Installed> {
  const place = { host, rules: config.rules, root: containerdConfig, dump };
  const written = await planHandler(place, handler, generation);
  if (written.head === undefined && written.file !== containerdConfig) {
    const text = `the handler goes into "${written.file}": if another program writes that file again, it is gone at the next restart`;
    report({ step: 'check', ...skipped(text) });
  }
  return { generation: generation.directory, written };
}

/** To the generation before the last commit, with the same steps and proof. */
export async function rollback(node: Node): Promise<void> {
  const seen = await preflight(node);
  const { previous, installed } = seen.journal ?? {};
  if (previous === undefined)
    throw new Refusal('journal', {
      what: 'There is no earlier generation',
      next: 'To take gVisor away, use remove',
    });
  const generation = generationAt(previous.generation);
  if (await needsRestart(node, generation)) await refuseRisks(node);
  await takeBackOthers(node);
  const next = await plan(node, seen, generation);
  await change(node, { ...seen, next, leaves: installed?.generation }, [
    { name: 'stage', do: () => refuseDamage(node.root, generation) },
    { name: 'pre-prove', do: () => preProve(node, generation) },
  ]);
}

/** The configuration first, then the programs that nothing needs. */
export async function remove(
  node: Node,
  { force, retryNow }: { readonly force: boolean; readonly retryNow: boolean },
): Promise<void> {
  const { root, client, handler, report } = node;
  await readJournal(root, handler); // one that cannot be read is refused before containerd is asked
  const seen = await readPresent(node, await client.status());
  const { journal, dump } = seen;
  if (journal === undefined) {
    for (const text of await copiesIn(node, [])) report({ step: 'check', ...skipped(text) });
    const text = `handler "${handler}" is not installed by gvisor-ready-install`;
    return report({ step: 'commit', ...skipped(text) });
  }
  const { installed = journal.pending } = journal;
  if (installed !== undefined && !retryNow) refuseRetry(journal, { ...installed, removes: true });
  if (!force) await refusePods(node);
  if (await needsRestart(node, undefined)) {
    refuseDefault(handler, dump);
    await refuseRisks(node);
  }
  await takeBackOthers(node);
  if (installed !== undefined) await make(node, { ...seen, next: undefined });
  await removePrograms(node, force);
  await removeJournal(root, handler);
  await removeUnused(node);
  report({ step: 'commit', ...pass(`handler "${handler}" is gone`) });
}

async function refusePods({ client, handler }: Node): Promise<void> {
  const pods = (await client.listSandboxes('SANDBOX_READY')).filter(
    (each) => each.runtimeHandler === handler && !isProbe(each),
  );
  if (pods.length === 0) return;
  const names = pods.slice(0, 5).map(({ metadata }) => `${metadata?.namespace}/${metadata?.name}`);
  throw new Refusal('quiet', {
    what: `Pods of handler "${handler}" still run (${names.join(', ')})`,
    next: 'Drain them first, or give --force: their containers would run on, but neither restart nor take exec',
  });
}

/** This run may restart containerd, which would load what an interrupted run for another handler has left. */
async function takeBackOthers(node: Node): Promise<void> {
  const others = await interruptedOthers(node);
  for (const journal of others) await refuseOtherFiles({ ...node, handler: journal.handler }, journal);
  await takeBack(node, others);
}

async function interruptedOthers(node: Node): Promise<readonly Journal[]> {
  const { journals } = await readJournals(node.root);
  return journals.filter(({ handler, pending }) => handler !== node.handler && pending !== undefined);
}
