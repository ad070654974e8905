import { type CriClient, CriError } from '../host/cri-client.ts';
import type { Host } from '../host/host.ts';
import { readKernelFacts } from '../host/kernel-facts.ts';
import { isImageMissing, readSandboxInfo } from '../host/sandbox-info.ts';
import { learnHousekeeping } from './bait.ts';
import { GUEST_FILES, judgeGuest } from './guest.ts';
import type { Housekeeping } from './housekeeping.ts';
import { impossible, type Outcome, outcomeOfError } from './outcome.ts';
import { findPlace, type Place } from './place.ts';
import { hostPrograms, IMAGE_PROGRAMS } from './programs.ts';
import { logDirectoryOf, newSandbox, probeContainer } from './sandbox-config.ts';
import { sweep, type TeardownOptions, tearDown } from './teardown.ts';
import { isGone, SandboxStopped, silenceOf, watchBoot } from './watch.ts';

/** What a proof needs. `now` is a monotonic clock in milliseconds. */
export type ProofOptions = {
  readonly client: CriClient;
  readonly handler: string;
  /** Image for the probe's container; else the agent's own, else the sandbox's. */
  readonly image?: string | undefined;
  readonly host: Host;
  readonly now: () => number;
  readonly housekeeping?: Housekeeping | undefined;
  /** Whether the proof is wanted at once; else it waits up to 1.5 s until the kubelet will not disturb it. */
  readonly hurry?: boolean;
  readonly bootTimeoutMs?: number;
  readonly teardownTimeoutMs?: number;
};

const ATTEMPTS = 3;

/** The end of a probe that the kubelet stops is seen 0.2 to 0.9 s after the kubelet has looked. */
const SEEN_AFTER_MS = 500;

/**
 * How long a boot may take. Measured: 0.5 s on 2 cores, 0.8 s on half a core, 2 s on a fifth of one. Longer ones
 * seldom end well anyhow, since the kubelet removes every ready sandbox that it does not know within two seconds.
 */
const BOOT_TIMEOUT_MS = 10_000;

/** Who wants the agent to end does not wait long, */
const ABORTED_TEARDOWN_MS = 2_000;
/** and what is wrong is told soon: a sandbox that does not go at once is left to the next sweep. */
const FAILED_TEARDOWN_MS = 3_000;

/**
 * Boots one sandbox through the handler that pods use, reads the kernel inside it, and removes it.
 * At most one sandbox exists at a time. A kubelet that removes the sandbox in the middle is no
 * failure: the attempt is repeated, three times in all.
 */
export async function prove(options: ProofOptions, signal: AbortSignal): Promise<Outcome> {
  let outcome: Outcome | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    signal.throwIfAborted();
    outcome = await tryOnce(options, signal);
    if (outcome.kind !== 'interrupted') return outcome;
  }
  return outcome ?? { kind: 'interrupted', reason: 'ProbeInterrupted', message: 'no attempt was made' };
}

async function tryOnce(options: ProofOptions, signal: AbortSignal): Promise<Outcome> {
  const { client, now } = options;
  try {
    const left = await sweep(options, signal);
    if (left !== undefined) return left;
    const place = await findPlace(client, options.image, { signal });
    if (!options.hurry) await waitForQuiet(options, place, signal);
    const begun = now();
    const boot = await bootAndRead(options, place, signal);
    if ('outcome' in boot) return boot.outcome;
    const booted = now();
    const torn = await tearDown(options, boot.id);
    if (torn !== undefined) return torn;
    return judgeGuest(boot.output, await readKernelFacts(options.host), {
      handler: options.handler,
      bootMs: booted - begun,
      teardownMs: now() - booted,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    return impossible(error);
  }
}

/** Waits for a moment at which a kubelet, if there is one, will not disturb a proof. */
async function waitForQuiet(
  { client, housekeeping }: ProofOptions,
  { cgroupParent }: Place,
  signal: AbortSignal,
): Promise<void> {
  if (housekeeping === undefined) return;
  const isKubelets = cgroupParent !== '';
  if (isKubelets && !housekeeping.isLearned)
    await learnHousekeeping(client, housekeeping, cgroupParent, signal);
  await housekeeping.quiet(signal);
}

const NO_PROGRAMS: Outcome = {
  kind: 'impossible',
  reason: 'ProbeImageMissing',
  message: 'there is no image to probe with, and the host has no cat and sleep to lend: set PROOF_IMAGE',
};

type Boot = { readonly id: string; readonly output: string } | { readonly outcome: Outcome };

async function bootAndRead(options: ProofOptions, place: Place, signal: AbortSignal): Promise<Boot> {
  const { client, handler, bootTimeoutMs = BOOT_TIMEOUT_MS } = options;
  const deadline = options.now() + bootTimeoutMs;
  const lost = new AbortController();
  const done = new AbortController();
  const either = AbortSignal.any([signal, lost.signal]);
  const limits = () => ({ signal: either, timeoutMs: Math.max(deadline - options.now(), 1) });
  const call = <Answer>(method: string, request: object) => client.call<Answer>(method, request, limits());
  const programs = place.image === undefined ? await hostPrograms(options.host) : IMAGE_PROGRAMS;
  if (programs === undefined) return { outcome: NO_PROGRAMS };
  const sandbox = newSandbox(place.cgroupParent);
  let id: string | undefined;
  void watchBoot(client, () => id, { lost, done: done.signal });
  try {
    id = (await call<{ podSandboxId: string }>('RunPodSandbox', { config: sandbox, runtimeHandler: handler }))
      .podSandboxId;
    const image = place.image ?? (await readSandboxInfo(client, id, limits())).image;
    if (image === '') throw new Error('failed to resolve image of the sandbox: containerd does not name it');
    const config = probeContainer(image, programs);
    const created = await call<{ containerId: string }>('CreateContainer', {
      podSandboxId: id,
      config,
      sandboxConfig: { ...sandbox, logDirectory: logDirectoryOf(place.stateDir, id) },
    });
    await call('StartContainer', { containerId: created.containerId });
    const exec = {
      containerId: created.containerId,
      cmd: programs.command('cat', ...GUEST_FILES),
      timeout: 10,
    };
    const { stdout, stderr } = await call<{ stdout: Buffer; stderr: Buffer }>('ExecSync', exec);
    if (stdout.length > 0) return { id, output: stdout.toString('utf8', 0, 4096) };
    throw new Error(`the probe printed nothing: ${stderr.toString('utf8', 0, 400)}`);
  } catch (error) {
    if (signal.aborted) {
      await cleanUp({ client, teardownTimeoutMs: ABORTED_TEARDOWN_MS }, id);
      throw error;
    }
    const { reason } = lost.signal;
    // A containerd that hangs would let every further question wait; the next sweep removes what is left.
    if (reason instanceof CriError) return { outcome: impossible(reason) };
    return { outcome: await explain(options, { error: reason ?? error, id, place, bootTimeoutMs }) };
  } finally {
    done.abort();
  }
}

/** Removes what an attempt that failed has left; when containerd did not tell its id, what carries our labels. */
async function cleanUp(options: TeardownOptions, id: string | undefined): Promise<void> {
  await (id === undefined ? sweep(options) : tearDown(options, id)).catch(() => {});
}

type Attempt = {
  readonly error: unknown;
  readonly id: string | undefined;
  readonly place: Place;
  readonly bootTimeoutMs: number;
};

/** Tells a sandbox that cannot boot from a containerd that is gone or hangs, and from a kubelet that removed ours. */
async function explain(
  { client, housekeeping }: ProofOptions,
  { error, id, place, bootTimeoutMs }: Attempt,
): Promise<Outcome> {
  const kind = error instanceof CriError ? error.kind : undefined;
  const hangs = kind === 'late' ? await silenceOf(client) : undefined;
  if (hangs !== undefined) return impossible(hangs);
  const isOurs = id !== undefined && kind !== 'unreachable';
  const stopped =
    error instanceof SandboxStopped || kind === 'aborted' || (isOurs && (await isGone(client, id)));
  if (stopped && id !== undefined) housekeeping?.noticed(SEEN_AFTER_MS);
  // The last words of a containerd that is gone since say nothing of whether a sandbox boots.
  const gone = stopped ? undefined : await silenceOf(client);
  if (gone !== undefined) return impossible(gone);
  await cleanUp({ client, teardownTimeoutMs: FAILED_TEARDOWN_MS }, id);
  if (kind === 'unreachable') return impossible(error);
  const message = error instanceof Error ? error.message : String(error);
  if (stopped) {
    return {
      kind: 'interrupted',
      reason: 'ProbeInterrupted',
      message: `the probe's sandbox was stopped by somebody else: ${message}`,
    };
  }
  if (kind !== 'late') return outcomeOfError(message);
  const late = `no sandbox booted within ${bootTimeoutMs / 1000} s`;
  if (id === undefined && (await isImageMissing(client, place.sandboxImage))) {
    // containerd was busy pulling it all the time.
    const missing = `${late}: the sandbox image "${place.sandboxImage}" is not on the node`;
    return { kind: 'impossible', reason: 'ProbeImageMissing', message: missing };
  }
  return { kind: 'failed', reason: 'SandboxFailed', message: `${late}: ${message}` };
}
