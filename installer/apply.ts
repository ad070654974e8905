import timers from 'node:timers/promises';
import type { CriClient } from '../agent/containerd/client.ts';
import type { TomlTable } from '../agent/containerd/toml.ts';
import { sweepContainers, sweepSandboxes } from '../agent/proof/orphans.ts';
import type { Outcome } from '../agent/proof/outcome.ts';
import { runProbe, tearDown } from '../agent/proof/probe.ts';
import { findPlace, isProbe, newSandbox, ownerMarks } from '../agent/proof/sandbox.ts';
import { errorLine } from '../agent/sanitize.ts';
import {
  type ContainerdProcess,
  changedKeys,
  dumpConfig,
  isLoaded,
  restartContainerd,
} from './containerd.ts';
import { replaceText } from './handler-config.ts';
import type { Installed, Written } from './journal.ts';
import { type Node, Refusal, type Step, seconds } from './node.ts';
import { waitForQuiet } from './quiet.ts';
import { type Generation, generationAt } from './release.ts';

/** A proof that is inconclusive is tried again until then: a busy node is slow, and slow is not broken. */
const PROVE_MS = 600_000;
const PROVE_PAUSE_MS = 1_000;
const SWEEP_MS = 30_000;
/** Marks the installer's probes. The lock guarantees that no other installer has any. */
const [OWNER = ''] = ownerMarks(1, 'installer');

/** What {@link apply} replaces by what, and how it records its steps. */
export type Change = {
  readonly containerd: ContainerdProcess;
  /** The installer's text that is in containerd's file now. */
  readonly old: Written | undefined;
  readonly next: Installed;
  readonly record: (step: Step) => Promise<void>;
};

/** Writes, validates, restarts and proves. Where it throws, containerd's files may hold the new text: see {@link restore}. */
export async function apply(node: Node, { containerd, old, next, record }: Change): Promise<void> {
  const { root, containerdConfig, report } = node;
  if (await needsRestart(node, generationAt(next.generation))) {
    await record('quiet');
    await waitForQuiet(node);
  }
  const before = await dumpConfig(root, containerd, containerdConfig);
  await record('write');
  const isWritten = old?.file === next.written.file && old.text === next.written.text;
  await replaceText(node, old, next.written);
  const file = `"${next.written.file}"`;
  report({
    step: 'write',
    state: isWritten ? 'skipped' : 'pass',
    text: isWritten ? `${file} is up to date` : `${file} names the generation`,
  });
  await record('validate');
  await validate(node, containerd, before);
  await record('restart');
  await loadQuietly(node, containerd, generationAt(next.generation));
  await record('prove');
  if (!node.noRestart) await prove(node);
}

/** Puts the text that was there before the change back, and proves that the node works as before. */
export async function restore(
  node: Node,
  containerd: ContainerdProcess,
  [from, to]: readonly [Written, Installed | undefined],
): Promise<void> {
  await replaceText(node, from, to?.written);
  const generation = to && generationAt(to.generation);
  // A containerd that does not respond is restarted at once, and a node that is never quiet is restored all the same.
  await loadQuietly(node, containerd, generation).catch(() => loadHandler(node, containerd, generation));
  if (!node.noRestart) await (to === undefined ? proveRunc(node) : prove(node));
}

/** containerd itself must see a change of exactly our handler: a dangling import or a wrong table would show here. */
async function validate(node: Node, containerd: ContainerdProcess, before: TomlTable): Promise<void> {
  const { root, handler, containerdConfig, report } = node;
  const after = await dumpConfig(root, containerd, containerdConfig).catch((cause) => {
    const message = `containerd refuses the new configuration: ${errorLine(cause)}`;
    throw new Refusal('validate', message, { cause, reason: 'ContainerdConfigInvalid' });
  });
  const isOurs = ([top, , ...rest]: readonly string[]) =>
    top === 'imports' || (top === 'plugins' && rest.slice(0, 3).join() === `containerd,runtimes,${handler}`);
  const foreign = changedKeys(before, after).filter((path) => !isOurs(path));
  if (foreign.length > 0) {
    const named = foreign.slice(0, 5).map((path) => path.join('.'));
    const message = `The new configuration would change more than the handler: ${named.join(', ')}`;
    throw new Refusal('validate', message);
  }
  report({
    step: 'validate',
    state: 'pass',
    text: 'containerd reads the new configuration, and only the handler differs',
  });
}

/** Whether {@link loadHandler} would restart containerd. */
export async function needsRestart(
  { noRestart, client, handler }: Node,
  generation: Generation | undefined,
): Promise<boolean> {
  return !noRestart && !(await isLoaded(client, handler, generation));
}

/**
 * Waits for a quiet moment again, just before {@link loadHandler}: the agent has seen the edited file, and boots a sandbox.
 */
export async function loadQuietly(
  node: Node,
  containerd: ContainerdProcess,
  generation: Generation | undefined,
): Promise<void> {
  if (await needsRestart(node, generation)) await waitForQuiet({ ...node, report: () => {} });
  await loadHandler(node, containerd, generation);
}

/** Restarts containerd if it has not loaded this generation, or any for `undefined`. */
export async function loadHandler(
  node: Node,
  containerd: ContainerdProcess,
  generation: Generation | undefined,
): Promise<void> {
  const { client, handler, report } = node;
  const skip = (text: string) => report({ step: 'restart', state: 'skipped', text });
  if (node.noRestart) return skip('containerd loads the handler when it starts next (--no-restart)');
  if (await isLoaded(client, handler, generation).catch(() => false))
    return skip('containerd has loaded it already');
  const before = await runningPods(client).catch(() => new Map<string, string>());
  const awayMs = await restartContainerd(node, containerd);
  if (!(await isLoaded(client, handler, generation))) {
    const message = `containerd restarted and did not load the handler "${handler}" as it is written`;
    throw new Refusal('restart', message, { reason: 'HandlerNotLoaded' });
  }
  const after = await runningPods(client);
  const ended = [...before].filter(([id]) => !after.has(id)).map(([, name]) => name);
  const pods =
    ended.length === 0 ? `${before.size} pods run on` : `ended meanwhile: ${ended.slice(0, 5).join(', ')}`;
  report({ step: 'restart', state: 'pass', text: `containerd was away for ${seconds(awayMs)}; ${pods}` });
}

async function runningPods(client: CriClient): Promise<ReadonlyMap<string, string>> {
  const sandboxes = await client.listSandboxes('SANDBOX_READY');
  return new Map(
    sandboxes
      .filter((each) => !isProbe(each))
      .map(({ id, metadata }) => [id, `${metadata?.namespace}/${metadata?.name}`]),
  );
}

/** The commit point: the agent's own proof through the handler, and a sandbox of the default handler. */
async function prove(node: Node): Promise<void> {
  const { client, host, handler, report } = node;
  const deadline = AbortSignal.timeout(PROVE_MS);
  const options = { client, host, handler, now: () => performance.now(), owner: OWNER };
  let outcome: Outcome;
  do {
    outcome = await runProbe({ ...options, signal: deadline });
    if (outcome.kind === 'proven' || outcome.kind === 'failed' || outcome.kind === 'stuck') break;
    await timers.setTimeout(PROVE_PAUSE_MS);
  } while (!deadline.aborted);
  if (outcome.kind !== 'proven') {
    const message = `A sandbox of handler "${handler}" is not proven: ${outcome.message}`;
    throw new Refusal('prove', message, { reason: outcome.reason });
  }
  await proveRunc(node);
  report({ step: 'prove', state: 'pass', text: `${outcome.message}; runc works as well` });
}

export async function proveRunc({ client, host }: Node): Promise<void> {
  try {
    const sandbox = newSandbox(await findPlace(client), OWNER);
    const id = await client.runSandbox(sandbox, '', { timeoutMs: PROVE_MS });
    await tearDown({ client, host }, id);
  } catch (cause) {
    const message = `A sandbox of the default handler does not start: ${errorLine(cause)}`;
    throw new Refusal('prove', message, { cause, reason: 'NoSandboxStarts' });
  }
}

/** Removes the probes of an installer that was killed in {@link prove}: gVisor would be in use until the agent's next sweep. */
export async function sweepProbes(client: CriClient): Promise<void> {
  // At the time 0 no probe is old, which spares those of the agent.
  const options = { client, owner: OWNER, wallMs: () => 0 };
  const signal = AbortSignal.timeout(SWEEP_MS);
  await sweepSandboxes(options, signal);
  await sweepContainers(options, signal);
}
