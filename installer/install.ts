import { usesSystemdCgroup } from '../lib/node/containerd/client.ts';
import { readContainerdConfig } from '../lib/node/containerd/config.ts';
import { readContainerdFiles } from '../lib/node/containerd/config-files.ts';
import { isProbe } from '../lib/node/proof/sandbox.ts';
import { seconds } from '../lib/report/format.ts';
import { proveCandidate } from './candidate.ts';
import { make, takeBack } from './change.ts';
import { dumpConfig, findContainerd, isLoaded } from './containerd.ts';
import { diffOf, planEdits } from './edits.ts';
import { removePrograms, removeUnused } from './generations.ts';
import { handlerTable, planHandler, refuseOtherFiles } from './handler-config.ts';
import {
  type Installed,
  type Journal,
  readJournal,
  readJournals,
  removeJournal,
  type Written,
  writeJournal,
} from './journal.ts';
import { type Line, type Node, pass, Refusal, type StepOf, skipped } from './node.ts';
import { type Preflight, preflight, refuseLeftovers } from './preflight.ts';
import { type Generation, generationAt, generationOf, readRelease, refuseDamage, stage } from './release.ts';
import { needsRestart } from './restart.ts';
import { refuseRetry } from './retry.ts';
import { refuseRisks } from './risks.ts';
import { type Change, presentText } from './steps.ts';
import { foreignText, planInPlace, refuseLoss } from './take-over.ts';

export type InstallOptions = {
  /** Directory of the release on this machine. */
  readonly release: string;
  /** Flags of runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
  /** Also for a release that was left by a rollback. */
  readonly retryNow: boolean;
  /** Replaces another owner's handler of the same name. */
  readonly takeOver: boolean;
};

/**
 * Resolves once a sandbox was proven through the handler. Throws a {@link Refusal} else, and the node works
 * as before. An interrupted installation is finished, or replaced.
 */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const { root, handler } = node;
  const release = await readRelease(options.release);
  const journal = await readJournal(root, handler);
  const seen = await preflight(node, journal, options.takeOver);
  // With the kubelet's systemd driver runsc must use systemd as well.
  const driver = usesSystemdCgroup(seen.status) ? ([['systemd-cgroup', 'true']] as const) : [];
  const flags = new Map([...driver, ...options.flags]);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  if (!options.retryNow) refuseRetry(journal, { generation: directory });
  if (await needsRestart(node, generation)) await refuseRisks(node, seen);
  await refuseLoss(node, seen, flags);
  if (!options.dryRun) await takeBackOthers(node);
  const next = { generation: directory, written: await plan(node, journal, { seen, generation }) };
  if (options.dryRun) return describe(node, journal, next);
  await change(node, { containerd: seen.containerd, journal, next }, [
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
        const isCurrent = journal?.installed?.generation === directory;
        if (isCurrent && (await isLoaded(node.client, handler, generation))) return undefined;
        return preProve(node, generation);
      },
    },
  ]);
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
async function describe(node: Node, journal: Journal | undefined, next: Installed): Promise<void> {
  const { report } = node;
  for (const { handler } of await interruptedOthers(node)) {
    const text = `would first take back what was interrupted for handler "${handler}"`;
    report({ step: 'undo', ...skipped(text) });
  }
  report({ step: 'stage', ...skipped(`would install ${next.generation}`) });
  for (const edit of await planEdits(node, await presentText(node, journal, next), next.written)) {
    const verbatim = Buffer.from(diffOf(edit), 'latin1').toString();
    report({ step: 'write', ...skipped(`would change "${edit.file}":`), verbatim });
  }
  const restarts = await needsRestart(node, generationAt(next.generation));
  report({ step: 'restart', ...skipped(`would restart containerd: ${restarts ? 'yes' : 'no'}`) });
}

/**
 * For systems that render the configuration themselves: copies the programs, and prints the handler's table.
 * The programs stay until the handler is removed.
 */
export async function stageOnly(
  { root, host, handler, containerdConfig, report }: Node,
  source: string,
  flags: ReadonlyMap<string, string>,
): Promise<void> {
  const release = await readRelease(source);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  const journal = (await readJournal(root, handler)) ?? { format: 1, handler };
  const staged = [...new Set([...(journal.staged ?? []), directory])];
  await writeJournal(root, { ...journal, staged });
  await stage(source, release, { root, generation, flags });
  const { files } = await readContainerdFiles(host, containerdConfig);
  const verbatim = handlerTable(files[0]?.version === 2 ? 2 : 3, handler, generation).join('\n');
  report({ step: 'stage', ...pass(`${directory}, which this table names:`), verbatim });
}

/** In the place of another owner's handler if that is or was taken over. */
async function plan(
  node: Node,
  journal: Journal | undefined,
  { seen, generation }: { readonly seen: Preflight; readonly generation: Generation },
): Promise<Written> {
  const { root, host, handler, containerdConfig } = node;
  const { foreign, config, dump } = seen;
  const old =
    foreign === undefined
      ? await presentText(node, journal, undefined)
      : { file: foreign, instead: await foreignText(root, foreign, handler) };
  if (old?.instead !== undefined) return planInPlace(old, handler, generation);
  const place = { host, rules: config.rules, root: containerdConfig, dump };
  const written = await planHandler(place, handler, generation);
  if (written.head === undefined && written.file !== containerdConfig) {
    const text = `the handler goes into "${written.file}": if another program writes that file again, it is gone at the next restart`;
    node.report({ step: 'check', ...skipped(text) });
  }
  return written;
}

/** To the generation before the last commit, with the same steps and proof. */
export async function rollback(node: Node): Promise<void> {
  const { root, handler } = node;
  const journal = await readJournal(root, handler);
  const { previous: next, installed } = journal ?? {};
  if (next === undefined)
    throw new Refusal('journal', 'There is no earlier generation. To take gVisor away, use remove');
  const seen = await preflight(node, journal);
  const generation = generationAt(next.generation);
  if (await needsRestart(node, generation)) await refuseRisks(node, seen);
  await takeBackOthers(node);
  await change(node, { containerd: seen.containerd, journal, next, leaves: installed?.generation }, [
    { name: 'stage', do: () => refuseDamage(root, generation) },
    { name: 'pre-prove', do: () => preProve(node, generation) },
  ]);
}

/** The configuration first, then the programs that nothing needs. */
export async function remove(
  node: Node,
  { force, retryNow }: { readonly force: boolean; readonly retryNow: boolean },
): Promise<void> {
  const { root, client, handler, containerdConfig, report } = node;
  const journal = await readJournal(root, handler);
  if (journal === undefined) {
    await refuseLeftovers(node);
    const text = `handler "${handler}" is not installed by gvisor-ready-install`;
    return report({ step: 'commit', ...skipped(text) });
  }
  const { installed = journal.pending } = journal;
  if (installed !== undefined && !retryNow) refuseRetry(journal, { ...installed, removes: true });
  if (!force) await refusePods(node);
  const containerd = await findContainerd(root, client);
  await refuseOtherFiles(node, journal);
  if (await needsRestart(node, undefined)) {
    const status = await client.status();
    const config = await readContainerdConfig(node.host, containerdConfig, status.runtimeVersion);
    const dump = await dumpConfig(node, containerd, containerdConfig);
    await refuseRisks(node, { containerd, status, config, dump });
  }
  await takeBackOthers(node);
  if (installed !== undefined) await make(node, { containerd, journal, next: undefined });
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
  const next =
    'Drain them first, or give --force: their containers would run on, but neither restart nor take exec';
  throw new Refusal('quiet', `Pods of handler "${handler}" still run (${names.join(', ')}). ${next}`);
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
