import { setTimeout } from 'node:timers/promises';
import type { CallOptions, CriClient } from '../host/cri-client.ts';
import { CriError } from '../host/cri-client.ts';
import type { Host } from '../host/host.ts';
import { readKernelFacts } from '../host/kernel-facts.ts';
import { GUEST_FILES, identifyGuest, type KernelFacts, parseGuest } from './guest.ts';
import { type Outcome, outcomeOfError } from './outcome.ts';
import { findPlace, type Place } from './place.ts';
import { hostPrograms, IMAGE_PROGRAMS } from './programs.ts';
import { newSandbox, PROBE_LABELS, probeContainer } from './sandbox-config.ts';

/** What a proof needs. `now` is a monotonic clock in milliseconds. */
export type ProofOptions = {
  readonly client: CriClient;
  readonly handler: string;
  /** Image for the probe's container; else the agent's own, else the sandbox's. */
  readonly image?: string | undefined;
  readonly host: Host;
  readonly now: () => number;
  readonly bootTimeoutMs?: number;
  readonly teardownTimeoutMs?: number;
};

const ATTEMPTS = 3;

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
    await sweep(client, { signal });
    const place = await findPlace(client, options.image, { signal });
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

function impossible(error: unknown): Outcome {
  const message = error instanceof Error ? error.message : String(error);
  const late = error instanceof CriError && error.kind === 'late';
  const reason = late ? 'CheckTimedOut' : error instanceof CriError ? 'ContainerdUnreachable' : 'CheckFailed';
  return { kind: 'impossible', reason, message };
}

const NO_PROGRAMS: Outcome = {
  kind: 'impossible',
  reason: 'ProbeImageMissing',
  message: 'there is no image to probe with, and the host has no cat and sleep to lend: set PROOF_IMAGE',
};

type Boot = { readonly id: string; readonly output: string } | { readonly outcome: Outcome };

async function bootAndRead(options: ProofOptions, place: Place, signal: AbortSignal): Promise<Boot> {
  const { client, handler, bootTimeoutMs = 20_000 } = options;
  const deadline = options.now() + bootTimeoutMs;
  const call = <Answer>(method: string, request: object) =>
    client.call<Answer>(method, request, { signal, timeoutMs: Math.max(deadline - options.now(), 1) });
  const programs = place.image === undefined ? await hostPrograms(options.host) : IMAGE_PROGRAMS;
  if (programs === undefined) return { outcome: NO_PROGRAMS };
  const sandbox = newSandbox(place.cgroupParent);
  let id: string | undefined;
  try {
    id = (await call<{ podSandboxId: string }>('RunPodSandbox', { config: sandbox, runtimeHandler: handler }))
      .podSandboxId;
    const image = place.image ?? (await sandboxImage(call, id));
    const config = probeContainer(image, programs);
    const created = await call<{ containerId: string }>('CreateContainer', {
      podSandboxId: id,
      config,
      sandboxConfig: sandbox,
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
      if (id !== undefined) await tearDown(options, id);
      throw error;
    }
    return { outcome: await explain(options, error, id) };
  }
}

/** Tells a sandbox that cannot boot from a containerd that is gone and from a kubelet that removed ours. */
async function explain(options: ProofOptions, error: unknown, id: string | undefined): Promise<Outcome> {
  if (error instanceof CriError && error.kind === 'unreachable') return impossible(error);
  const removed = id !== undefined && (await isGone(options.client, id));
  if (id !== undefined) await tearDown(options, id).catch(() => {});
  const message = error instanceof Error ? error.message : String(error);
  if (removed) {
    return {
      kind: 'interrupted',
      reason: 'ProbeInterrupted',
      message: `the probe's sandbox was stopped by somebody else: ${message}`,
    };
  }
  if (!(error instanceof CriError && error.kind === 'late')) return outcomeOfError(message);
  const alive = await options.client.status().then(
    () => true,
    () => false,
  );
  if (!alive) return impossible(error);
  return {
    kind: 'failed',
    reason: 'SandboxFailed',
    message: `no sandbox booted within ${options.bootTimeoutMs ?? 20_000} ms: ${message}`,
  };
}

/**
 * Whether a sandbox that just failed us has been stopped. containerd learns of the end of a killed
 * sandbox a little after the calls into it fail, so a sandbox that still seems ready is asked again.
 */
async function isGone(client: CriClient, id: string): Promise<boolean> {
  for (let look = 0; look < 10; look++) {
    try {
      const answer = await client.call<{ status?: { state?: string } | null }>('PodSandboxStatus', {
        podSandboxId: id,
      });
      if (answer.status?.state !== 'SANDBOX_READY') return true;
    } catch (error) {
      return error instanceof CriError && error.kind === 'absent';
    }
    await setTimeout(100);
  }
  return false;
}

async function sandboxImage(
  call: <A>(method: string, request: object) => Promise<A>,
  id: string,
): Promise<string> {
  const { info } = await call<{ info: Record<string, string> }>('PodSandboxStatus', {
    podSandboxId: id,
    verbose: true,
  });
  const image = (JSON.parse(info.info ?? '{}') as { image?: unknown }).image;
  if (typeof image !== 'string' || image === '')
    throw new Error('failed to resolve image of the sandbox: containerd does not name it');
  return image;
}

/** Stops and removes a sandbox; an outcome when that does not end in time, which pods would suffer from as well. */
async function tearDown(
  { client, teardownTimeoutMs = 10_000 }: ProofOptions,
  id: string,
): Promise<Outcome | undefined> {
  for (const method of ['StopPodSandbox', 'RemovePodSandbox']) {
    try {
      await client.call(method, { podSandboxId: id }, { timeoutMs: teardownTimeoutMs });
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') continue;
      if (error.kind === 'unreachable') return impossible(error);
      return {
        kind: 'stuck',
        reason: 'SandboxStuck',
        message: `the sandbox booted, and ${method} failed: ${error.message}`,
      };
    }
  }
  return undefined;
}

/** Removes every sandbox that a probe of this agent or of a predecessor left. */
export async function sweep(client: CriClient, options: CallOptions = {}): Promise<number> {
  const request = { filter: { labelSelector: PROBE_LABELS } };
  const { items } = await client.call<{ items: { id: string }[] }>('ListPodSandbox', request, options);
  for (const { id } of items) {
    await client.call('StopPodSandbox', { podSandboxId: id }, { ...options, timeoutMs: 10_000 });
    await client.call('RemovePodSandbox', { podSandboxId: id }, { ...options, timeoutMs: 10_000 });
  }
  return items.length;
}

function judgeGuest(
  output: string,
  host: KernelFacts,
  facts: { readonly handler: string; readonly bootMs: number; readonly teardownMs: number },
): Outcome {
  const { kernel, release } = identifyGuest(parseGuest(output), host);
  const { handler, bootMs, teardownMs } = facts;
  if (kernel === 'gvisor') {
    const message = `a sandbox of handler "${handler}" booted gVisor's kernel ${release} in ${(bootMs / 1000).toFixed(2)} s`;
    return { kind: 'proven', guestKernel: release, bootMs, teardownMs, message };
  }
  if (kernel === 'host') {
    return {
      kind: 'failed',
      reason: 'GuestIsHostKernel',
      message: `a sandbox of handler "${handler}" sees the host's own kernel ${release}: pods run unsandboxed`,
    };
  }
  return {
    kind: 'failed',
    reason: 'GuestNotGVisor',
    message: `a sandbox of handler "${handler}" sees the kernel ${release}, which is neither the host's nor gVisor's`,
  };
}
