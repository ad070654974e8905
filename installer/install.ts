import { type CriStatus, usesSystemdCgroup } from '../lib/node/containerd/client.ts';
import { readContainerdConfig } from '../lib/node/containerd/config.ts';
import { readContainerdFiles } from '../lib/node/containerd/config-files.ts';
import { isProbe } from '../lib/node/proof/sandbox.ts';
import { seconds } from '../lib/report/format.ts';
import { proveCandidate } from './candidate.ts';
import { make, takeBack } from './change.ts';
import { dumpPresent, findContainerd, isLoaded } from './containerd.ts';
import { diffOf, foundIn, planEdits } from './edits.ts';
import { planHandler, readOtherFiles, refuseOtherFiles } from './handler-config.ts';
import {
  type Installed,
  type Journal,
  readJournal,
  readJournals,
  removeJournal,
  type Written,
  writeJournal,
} from './journal.ts';
import { type Line, type Node, pass, patiently, Refusal, type StepOf, skipped } from './node.ts';
import { type Preflight, preflight } from './preflight.ts';
import { removePrograms, removeUnused } from './programs.ts';
import { type Generation, generationAt, generationOf, readRelease, refuseDamage, stage } from './release.ts';
import { needsRestart } from './restart.ts';
import { refuseRetry } from './retry.ts';
import { refuseRisks } from './risks.ts';
import { type Change, presentText } from './steps.ts';
import { planInPlace, planTakeOver, refuseLoss } from './take-over.ts';

export type InstallOptions = {
  /** Directory of the release on this machine. */
  readonly release: string;
  /** Flags of runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
  /** Tries what failed again before its time, or a release that was left by a rollback. */
  readonly retryNow: boolean;
  /** Replaces a handler of the same name of another owner. */
  readonly takeOver: boolean;
  /** With `takeOver`: although that handler has settings that the new one will not have. */
  readonly loseSettings: boolean;
};

/**
 * Installs a release: resolves once a sandbox of it was proven through the handler. Throws a {@link Refusal} else, and the
 * node works as before. An installation that was interrupted is finished, or replaced.
 */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const { root, handler } = node;
  const release = await readRelease(options.release);
  const journal = await readJournal(root, handler);
  const seen = await preflight(node, journal, options.takeOver);
  const flags = withCgroupDriver(options.flags, seen.status);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  if (!options.retryNow) {
    refuseRetry(journal, { generation: directory });
    refuseLeft(journal, generation);
  }
  if (await needsRestart(node, generation)) await refuseRisks(node, seen);
  await refuseLoss(node, { seen, flags, isAccepted: options.loseSettings });
  if (!options.dryRun) await takeBackOthers(node);
  const next = { generation: directory, written: await plan(node, { journal, seen, generation }) };
  if (options.dryRun) return describe(node, journal, next);
  await change(node, { containerd: seen.containerd, journal, next }, [
    {
      name: 'stage',
      do: async () => {
        const done = await stage(options.release, release, { root, generation, flags });
        if (done === 'unchanged') return skipped(`${directory} is there, unchanged`);
        return pass(done === 'new' ? directory : `${directory} was damaged, and is repaired`);
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

/** Makes a change to a generation, and says what it led to. */
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

async function preProve({ socket, root }: Node, generation: Generation): Promise<Line> {
  const { bootMs } = await proveCandidate(socket, { root, generation });
  return pass(`${generation.release} booted beside the handler in ${seconds(bootMs)}, and ran a program`);
}

/** Says what an installation would do, and does nothing. */
async function describe(node: Node, journal: Journal | undefined, next: Installed): Promise<void> {
  const { root, report } = node;
  const { journals } = await readJournals(root);
  for (const { handler, pending } of journals)
    if (pending !== undefined && handler !== node.handler)
      report({
        step: 'undo',
        ...skipped(`would first take back what was interrupted for handler "${handler}"`),
      });
  report({ step: 'stage', ...skipped(`would install ${next.generation}`) });
  for (const edit of await planEdits(node, await presentText(node, journal, next), next.written)) {
    const verbatim = Buffer.from(diffOf(edit), 'latin1').toString();
    report({ step: 'write', ...skipped(`would change "${edit.file}":`), verbatim });
  }
  const restarts = await needsRestart(node, generationAt(next.generation));
  report({ step: 'restart', ...skipped(`would restart containerd: ${restarts ? 'yes' : 'no'}`) });
}

/** A person's rollback is not undone by the next start of a pod that installs. */
function refuseLeft(journal: Journal | undefined, { directory, release }: Generation): void {
  if (journal?.left !== directory) return;
  const next = 'Install another release, or this one with --retry-now';
  throw new Refusal('journal', `A rollback left ${release}. ${next}`);
}

/** Copies a release's programs to the node, for systems that bring the handler themselves. They stay until it is removed. */
export async function stageOnly(
  { root, handler, report }: Node,
  source: string,
  flags: ReadonlyMap<string, string>,
): Promise<void> {
  const release = await readRelease(source);
  const generation = generationOf(release, flags);
  const { directory } = generation;
  const journal = (await readJournal(root, handler)) ?? { format: 1, handler };
  const staged = [...new Set([...(journal.staged ?? []), directory])];
  await writeJournal(root, { ...journal, staged });
  const done = await stage(source, release, { root, generation, flags });
  report({ step: 'stage', ...(done === 'unchanged' ? skipped(directory) : pass(directory)) });
}

/** The text to write, and where: in the place of another owner's handler if that is or was taken over. */
async function plan(
  node: Node,
  {
    journal,
    seen: { foreign, config, dump },
    generation,
  }: { readonly journal: Journal | undefined; readonly seen: Preflight; readonly generation: Generation },
): Promise<Written> {
  const { root, host, handler, containerdConfig } = node;
  if (foreign !== undefined) return planTakeOver(root, foreign, { handler, generation });
  const old = await presentText(node, journal, undefined);
  if (old?.instead !== undefined) return planInPlace(old, { handler, generation });
  const files = await readOtherFiles(host, containerdConfig);
  const place = { rules: config.rules, root: containerdConfig, files, dump };
  const written = planHandler(place, handler, generation);
  if (written.head === undefined && written.file !== containerdConfig) {
    const text = `the handler goes into "${written.file}": if another program writes that file again, it is gone at the next restart`;
    node.report({ step: 'check', ...skipped(text) });
  }
  return written;
}

/** Goes back to the generation before the last commit, with the same steps and the same proof. */
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
    {
      name: 'stage',
      do: async () => {
        await refuseDamage(root, generation);
        return undefined;
      },
    },
    { name: 'pre-prove', do: () => preProve(node, generation) },
  ]);
}

/** Takes back everything that the handler's journal names: the configuration first, then the programs that nothing needs. */
export async function remove(
  node: Node,
  { force, retryNow }: { readonly force: boolean; readonly retryNow: boolean },
): Promise<void> {
  const { root, client, handler, report } = node;
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
    const config = await readContainerdConfig(node.host, node.containerdConfig, status.runtimeVersion);
    await refuseRisks(node, { containerd, status, config, dump: await dumpPresent(node, containerd) });
  }
  await takeBackOthers(node);
  if (installed !== undefined) await make(node, { containerd, journal, next: undefined });
  await patiently(node, 'stage', () => removePrograms(node, force));
  await removeJournal(root, handler);
  await removeUnused(node);
  report({ step: 'commit', ...pass(`handler "${handler}" is gone`) });
}

/** Without a journal nobody knows what to take back, but the handler may still be there. */
async function refuseLeftovers(node: Node): Promise<void> {
  const { host, handler, containerdConfig } = node;
  for (const { path } of (await readContainerdFiles(host, containerdConfig)).files) {
    if ((await foundIn(node, path)) === undefined) continue;
    const next = 'Remove its lines from BEGIN to END there, and restart containerd when no pod needs it';
    const message = `"${path}" has the handler "${handler}" of this program, and the journal is gone. ${next}`;
    throw new Refusal('journal', message);
  }
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

/** Takes back what an interrupted run for another handler has left: this one may restart containerd, which would load it. */
async function takeBackOthers(node: Node): Promise<void> {
  const { journals } = await readJournals(node.root);
  const others = journals.filter(({ handler, pending }) => handler !== node.handler && pending !== undefined);
  for (const journal of others) await refuseOtherFiles({ ...node, handler: journal.handler }, journal);
  await takeBack(node, others);
}

/** With the kubelet's systemd driver runsc must use systemd as well. */
function withCgroupDriver(
  flags: ReadonlyMap<string, string>,
  status: CriStatus,
): ReadonlyMap<string, string> {
  return usesSystemdCgroup(status) && !flags.has('systemd-cgroup')
    ? new Map([...flags, ['systemd-cgroup', 'true']])
    : flags;
}
