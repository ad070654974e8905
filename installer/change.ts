import type { CriClient } from '../agent/containerd/client.ts';
import { readContainerdConfig } from '../agent/containerd/config.ts';
import { type TomlTable, tableAt } from '../agent/containerd/toml.ts';
import { isProbe } from '../agent/proof/sandbox.ts';
import { errorLine } from '../agent/sanitize.ts';
import {
  type ContainerdProcess,
  changedKeys,
  dumpConfig,
  dumpPresent,
  isDown,
  isLoaded,
  restartContainerd,
} from './containerd.ts';
import {
  type Edit,
  foundIn,
  holds,
  planEdits,
  removeDrafts,
  runtimesIn,
  withDraft,
  writeEdits,
} from './handler-config.ts';
import {
  draftOf,
  type Failure,
  type Installed,
  type Journal,
  type Pending,
  readOwnProcess,
  removeJournal,
  type Written,
  writeJournal,
} from './journal.ts';
import { type Because, type Node, type Progress, patiently, Refusal, type Step, seconds } from './node.ts';
import { proveHandler, proveRunc } from './prove.ts';
import { waitForQuiet } from './quiet.ts';
import { type Generation, generationAt, isGenerationPath } from './release.ts';

type Line = Pick<Progress, 'state' | 'text'>;

/**
 * One step of a change. `do` says what was done; `undo` makes it as it was before the change, however far `do` came, and
 * resolves with whether there was anything to undo.
 */
export type StepOf = {
  readonly name: Step;
  readonly do: (because: Because) => Promise<Line | undefined>;
  readonly undo?: (because: Because) => Promise<boolean>;
};

/** A change of what a handler runs. */
export type Change = {
  readonly containerd: Pick<ContainerdProcess, 'program' | 'unit'>;
  /** The handler's journal before it. */
  readonly journal: Journal | undefined;
  /** What the handler is to run; undefined takes it away. */
  readonly next: Installed | undefined;
  /** The generation that a person leaves for good. */
  readonly leaves?: string | undefined;
};

export const pass = (text: string): Line => ({ state: 'pass', text });
export const skipped = (text: string): Line => ({ state: 'skipped', text });

/**
 * Makes a change: the steps in `first`, which touch nothing that is live, then those of containerd's configuration. The
 * journal names each before it begins. Where one fails, all is undone, and the {@link Refusal} is thrown.
 */
export async function make(node: Node, change: Change, first: readonly StepOf[] = []): Promise<void> {
  const { root, handler, report } = node;
  const { journal, next, containerd } = change;
  const { pending: before, failure: lately, ...kept }: Journal = journal ?? { format: 1, handler };
  const { generation, written } = next ?? journal?.installed ?? (before as Installed);
  const removes = next === undefined ? true : undefined;
  const isSame = before?.generation === generation && before.removes === removes;
  let pending: Pending = {
    ...{ generation, written, removes, step: 'check', since: new Date().toISOString() },
    ...{ process: await readOwnProcess(root), unit: containerd.unit, restarts: isSame ? before.restarts : 0 },
  };
  const record = async (news: Partial<Pending>) => {
    pending = { ...pending, ...news };
    await writeJournal(root, { ...kept, failure: lately, pending });
  };
  const steps = [...first, ...stepsOf(node, change, () => record({ restarts: pending.restarts + 1 }))];
  for (const step of steps) {
    try {
      await record({ step: step.name });
      const line = await patiently(node, step.name, step.do);
      if (line !== undefined) report({ step: step.name, ...line });
    } catch (cause) {
      const error = cause instanceof Refusal ? cause : new Refusal(step.name, errorLine(cause), { cause });
      const left = await undo(node, steps).then(() => undefined, errorLine);
      const what = `${errorLine(error)}. The node could not be restored either (${left}): the next run tries again`;
      const told = left === undefined ? error : new Refusal('restart', what, { cause });
      const failure = failureOf(lately, pending, told);
      // On a full disk the journal cannot be written either, and says what is true since the last step.
      await writeJournal(root, { ...kept, failure, ...(left && { pending }) }).catch(() => {});
      throw told;
    }
  }
  const { installed, previous, staged, left } = kept;
  // From here on the removal goes on, and nothing of it comes back.
  if (next === undefined)
    return writeJournal(root, { format: 1, handler, staged, pending: { ...pending, step: 'stage' } });
  await writeJournal(root, {
    ...{ format: 1, handler, installed: next },
    previous: installed?.generation === generation ? previous : installed,
    left: change.leaves ?? (left === generation ? undefined : left),
    staged: staged?.filter((each) => each !== generation),
  });
}

/** In the same order as the steps were made: containerd has to read the old text. */
async function undo(node: Node, steps: readonly StepOf[]): Promise<void> {
  let isUndone = false;
  for (const step of steps)
    if (step.undo !== undefined && (await patiently(node, 'undo', step.undo))) isUndone = true;
  if (isUndone) node.report({ step: 'undo', ...pass('the node works as before') });
}

/**
 * Takes back what interrupted runs have begun, to the last commit of each handler: all texts before containerd starts or
 * restarts, whatever ended it.
 */
export async function takeBack(node: Node, journals: readonly Journal[]): Promise<void> {
  const all = journals.flatMap((journal) => {
    const { handler, pending } = journal;
    if (pending === undefined) return [];
    const other = { ...node, handler };
    const change = {
      containerd: { program: '', unit: pending.unit },
      next: pending.removes ? undefined : pending,
      journal,
    };
    const record = () => {
      const news = { ...pending, restarts: pending.restarts + 1 };
      return writeJournal(node.root, { ...journal, pending: news });
    };
    return [{ other, journal, pending, steps: stepsOf(other, change, record) }];
  });
  const problems: unknown[] = [];
  for (const name of ['write', 'restart'])
    for (const { other, steps } of all) {
      const { undo } = steps.find((each) => each.name === name) ?? {};
      // A text that somebody edited does not keep containerd down, but is no reason to restart it.
      const isStart = problems.length === 0 || (await isDown(node.client));
      if (undo !== undefined && isStart)
        await patiently(other, 'undo', undo).catch((error) => problems.push(error));
    }
  if (problems.length > 0) throw problems[0];
  for (const { journal, pending } of all) {
    const { pending: _, ...kept } = journal;
    const { handler, installed, previous, staged, failure } = kept;
    if ([installed, previous, staged, failure].every((each) => each === undefined))
      await removeJournal(node.root, handler);
    else await writeJournal(node.root, kept);
    const what = pending.removes ? 'removal' : 'installation';
    const text = `took back the ${what} that was interrupted in step ${pending.step}, of handler "${handler}"`;
    node.report({ step: 'undo', ...pass(text) });
  }
}

/** The steps from containerd's files to the proof. */
function stepsOf(
  node: Node,
  { containerd, journal, next }: Change,
  recordRestart: () => Promise<void>,
): readonly StepOf[] {
  const { root, noRestart } = node;
  const last = journal?.installed;
  const wanted = next && generationAt(next.generation);
  const texts = [next, journal?.pending, last].map((each) => each?.written);
  let edits: readonly Edit[] = [];
  let isWritten = journal?.pending !== undefined;
  let isTouched = false;
  return [
    {
      name: 'validate',
      do: async () => {
        const old = await presentText(node, journal, next);
        await removeDrafts(node, texts);
        edits = await planEdits(node, old, next?.written);
        if (edits.length === 0 && !(await needsRestart(node, wanted))) return undefined;
        await validate(node, containerd, edits, wanted);
        return pass('containerd reads the new configuration, and only the handler differs');
      },
    },
    {
      name: 'quiet',
      do: async (because) => {
        if (!(await needsRestart(node, wanted))) return undefined;
        await proveRunc(node, 'quiet', because, node.quietMs);
        await waitForQuiet(node, because);
        return pass('runc works, every shim answers, and no container is being started');
      },
    },
    {
      name: 'write',
      do: async () => {
        isWritten = true;
        await writeEdits(root, edits);
        const file = edits[0]?.file ?? next?.written.file;
        if (next === undefined)
          return edits.length === 0 ? undefined : pass(`took the handler out of "${file}"`);
        return edits.length === 0
          ? skipped(`"${file}" is up to date`)
          : pass(`"${next.written.file}" names the generation`);
      },
      undo: async () => {
        if (!isWritten) return false;
        const now = await presentText(node, journal, next);
        await removeDrafts(node, texts);
        const back = await planEdits(node, now, last?.written);
        await writeEdits(root, back);
        if (back.length > 0) isTouched = true;
        return isTouched;
      },
    },
    {
      name: 'restart',
      do: async (because) => {
        const { text, ended } = await load(node, containerd, { wanted, recordRestart }, because);
        if (ended.length === 0) return text;
        const pods = ended.slice(0, 5).join(', ');
        throw new Refusal(
          'restart',
          `${ended.length} pods that ran before the restart do not run now: ${pods}`,
        );
      },
      undo: async (because) => {
        const before = last && generationAt(last.generation);
        const reload = { wanted: before, recordRestart, isUrgent: true };
        const { text } = await load(node, containerd, reload, because);
        if (text.state === 'pass') {
          isTouched = true;
          node.report({ step: 'undo', ...text });
        }
        return isTouched;
      },
    },
    {
      name: 'prove',
      do: async (because) => {
        if (noRestart) return undefined;
        if (next === undefined) {
          await proveRunc(node, 'prove', because);
          return pass('runc works');
        }
        const seen = await proveHandler(node, because);
        await proveRunc(node, 'prove', because);
        return pass(`${seen}; runc works as well`);
      },
      undo: async (because) => {
        if (noRestart || !isTouched) return false;
        if (last !== undefined) await proveHandler(node, because);
        await proveRunc(node, 'prove', because);
        return true;
      },
    },
  ];
}

/** The handler's text in containerd's file: that of this run, of an interrupted one, or of the last commit. */
export async function presentText(
  { root, handler }: Pick<Node, 'root' | 'handler'>,
  journal: Journal | undefined,
  next: Installed | undefined,
): Promise<Written | undefined> {
  const { pending, installed } = journal ?? {};
  for (const each of [next, pending, installed])
    if (each !== undefined && (await holds(root, each.written))) return each.written;
  // A removal takes it out. Without one something else did, which is refused where it is to be replaced.
  const isRemoval = next === undefined || pending?.removes;
  const isGone =
    installed === undefined || (await foundIn({ root, handler }, installed.written.file)) === undefined;
  return isRemoval && isGone ? undefined : installed?.written;
}

/**
 * containerd itself reads a draft before any of it is live: only our handler may change, and it has to be there, or gone. A
 * dangling import, a wrong table, or a default handler that is missing would show here.
 */
async function validate(
  node: Node,
  containerd: Pick<ContainerdProcess, 'program'>,
  edits: readonly Edit[],
  wanted: Generation | undefined,
): Promise<void> {
  const { root, host, client, handler } = node;
  const before = await dumpPresent(node, containerd);
  const { runtimeVersion } = await client.version();
  await withDraft(node, edits, async (config) => {
    const after = await dumpConfig(root, containerd, config).catch((cause) => {
      const message = `containerd refuses the new configuration: ${errorLine(cause)}`;
      throw new Refusal('validate', message, { cause, reason: 'ContainerdConfigInvalid' });
    });
    const isOurs = ([top, , ...rest]: readonly string[]) =>
      top === 'imports' ||
      (top === 'plugins' && rest.slice(0, 3).join() === `containerd,runtimes,${handler}`);
    const foreign = changedKeys(before, after).filter((path) => !isOurs(path));
    if (foreign.length > 0) {
      const named = foreign.slice(0, 5).map((path) => path.join('.'));
      const message = `The new configuration would change more than the handler: ${named.join(', ')}`;
      throw new Refusal('validate', message);
    }
    if (config !== undefined) {
      const { fault, runtimes } = await readContainerdConfig(host, config, runtimeVersion);
      if (fault !== undefined) {
        const message = `containerd would not start pods with the new configuration: ${fault.problem}`;
        throw new Refusal('validate', message, { reason: 'ContainerdConfigInvalid' });
      }
      const { file, line } = runtimes.get(handler) ?? {};
      if (wanted === undefined && namesGeneration(after, handler)) {
        const what = `"${file?.replace(draftOf(''), '')}" line ${line} still has the handler "${handler}", without the marks of gvisor-ready`;
        throw new Refusal('validate', `${what}. Remove its table there, and run this again`);
      }
    }
    if (wanted !== undefined && !isNamed(after, handler, wanted)) {
      const message = `containerd would not load the handler "${handler}" as it is written: another file has it as well, or its table is ignored`;
      throw new Refusal('validate', message, { reason: 'HandlerNotConfigured' });
    }
  });
}

function tableOf(dump: TomlTable, handler: string): TomlTable | undefined {
  return tableAt(runtimesIn(dump), [handler]);
}

function isNamed(dump: TomlTable, handler: string, { shim, config }: Generation): boolean {
  const table = tableOf(dump, handler);
  return table?.get('runtime_path') === shim && tableAt(table, ['options'])?.get('ConfigPath') === config;
}

function namesGeneration(dump: TomlTable, handler: string): boolean {
  return isGenerationPath(String(tableOf(dump, handler)?.get('runtime_path')));
}

/** Whether {@link load} would restart containerd. */
export async function needsRestart(
  { noRestart, client, handler }: Node,
  wanted: Generation | undefined,
): Promise<boolean> {
  return !noRestart && !(await isLoaded(client, handler, wanted));
}

type Reload = {
  readonly wanted: Generation | undefined;
  readonly recordRestart: () => Promise<void>;
  /** Restarts also a containerd that does not respond, on a node that is never quiet, and if the journal cannot be written. */
  readonly isUrgent?: boolean;
};

/**
 * Restarts containerd if it has not loaded what is wanted, in a moment that is quiet still: the agent has seen the edited
 * file, and boots a sandbox. Resolves with the pods that do not run any more.
 */
async function load(
  node: Node,
  containerd: Change['containerd'],
  { wanted, recordRestart, isUrgent = false }: Reload,
  because: Because,
): Promise<{ readonly text: Line; readonly ended: readonly string[] }> {
  const { client, handler } = node;
  const skip = (text: string) => ({ text: skipped(text), ended: [] });
  const unlessUrgent = (error: unknown) => {
    if (!isUrgent) throw error;
  };
  if (node.noRestart) return skip('containerd loads it when it starts next (--no-restart)');
  const isThere = await isLoaded(client, handler, wanted).catch(unlessUrgent);
  if (isThere) return skip('containerd has loaded it already');
  if (isThere === false) await waitForQuiet(node, because).catch(unlessUrgent);
  const before = await runningPods(client).catch(() => new Map<string, string>());
  await recordRestart().catch(unlessUrgent);
  const awayMs = await restartContainerd(node, containerd, because);
  const ready = await client.listSandboxes('SANDBOX_READY');
  const ended = [...before].filter(([id]) => !ready.some((each) => each.id === id)).map(([, name]) => name);
  if (!(await isLoaded(client, handler, wanted))) {
    const message = `containerd restarted and did not load the handler "${handler}" as it is written`;
    throw new Refusal('restart', message, { reason: 'HandlerNotLoaded' });
  }
  const pods = ended.length === 0 ? `${before.size} pods run on` : `${ended.length} pods ended`;
  return { text: pass(`containerd was away for ${seconds(awayMs)}; ${pods}`), ended };
}

/** Pods with a container that runs, by their sandboxes: the kubelet stops the sandbox of a pod that ends only after these. */
async function runningPods(client: CriClient): Promise<ReadonlyMap<string, string>> {
  const [sandboxes, containers] = await Promise.all([
    client.listSandboxes('SANDBOX_READY'),
    client.listPodContainers(),
  ]);
  const running = new Set(
    containers.flatMap(({ state, podSandboxId }) => (state === 'CONTAINER_RUNNING' ? podSandboxId : [])),
  );
  return new Map(
    sandboxes
      .filter((each) => !isProbe(each) && running.has(each.id))
      .map(({ id, metadata }) => [id, `${metadata?.namespace}/${metadata?.name}`]),
  );
}

function failureOf(
  before: Failure | undefined,
  { generation, removes, restarts }: Pending,
  { step, reason, message }: Refusal,
): Failure {
  const isSame = before?.generation === generation && before.removes === removes;
  // A busy node says nothing about the release, and waiting for it costs nothing.
  const counts = step !== 'quiet' || restarts > 0;
  return {
    ...{ generation, step, removes, message, at: new Date().toISOString() },
    ...(reason === undefined ? {} : { reason }),
    tries: (isSame ? before.tries : 0) + (counts ? 1 : 0),
    restarts: (isSame ? before.restarts : 0) + restarts,
  };
}

/** How long after the first failure the same is not tried again; this doubles with each further one. */
const RETRY_MS = 30 * 60_000;
const MAX_DOUBLINGS = 4;
/** After so many failures that cost restarts of containerd a person has to ask for the next. */
const MAX_TRIES = 3;

/** Refuses what failed lately, so that no controller restarts containerd again and again. */
export function refuseRetry(
  journal: Journal | undefined,
  { generation, removes }: Pick<Failure, 'generation' | 'removes'>,
): void {
  const { failure } = journal ?? {};
  if (failure === undefined || failure.generation !== generation || failure.removes !== removes) return;
  const { tries, restarts, at, step, message, reason } = failure;
  if (tries === 0) return;
  const agoMs = Date.now() - Date.parse(at);
  const pauseMs = RETRY_MS * 2 ** Math.min(tries - 1, MAX_DOUBLINGS);
  const isGivenUp = tries >= MAX_TRIES && restarts > 0;
  // A clock that jumped back blocks nothing.
  if (!isGivenUp && (agoMs < 0 || agoMs >= pauseMs)) return;
  const next = isGivenUp
    ? `It failed ${tries} times and restarted containerd ${restarts} times, and is tried again only with --retry-now`
    : `It is tried again after ${new Date(Date.parse(at) + pauseMs).toISOString()}, or now with --retry-now`;
  const what = `${removes ? 'The removal' : 'The installation'} of ${generationAt(generation).release}`;
  throw new Refusal(
    'journal',
    `${what} failed at ${at} in step ${step} (${message}). ${next}`,
    reason === undefined ? {} : { reason },
  );
}
