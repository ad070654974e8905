import { CriError } from '../host/cri-error.ts';
import type { Host } from '../host/host.ts';
import { readSandboxInfo } from '../host/sandbox-info.ts';
import { cleanUp, type ExplainOptions, explain } from './explain.ts';
import { GUEST_FILES } from './guest.ts';
import { impossible, type Outcome } from './outcome.ts';
import type { Place } from './place.ts';
import { hostPrograms, IMAGE_PROGRAMS } from './programs.ts';
import { logDirectoryOf, newSandbox, probeContainer } from './sandbox-config.ts';
import { watchBoot } from './watch.ts';

/** What a boot needs. */
export type BootOptions = ExplainOptions & {
  readonly handler: string;
  readonly host: Host;
  readonly bootTimeoutMs?: number;
};

/**
 * How long a boot may take. Measured: 0.5 s on 2 cores, 0.8 s on half a core, 2 s on a fifth of one. Longer ones
 * seldom end well anyhow, since the kubelet removes every ready sandbox that it does not know within two seconds.
 */
const BOOT_TIMEOUT_MS = 10_000;

/** Who wants the agent to end does not wait long. */
const ABORTED_TEARDOWN_MS = 2_000;

const NO_PROGRAMS: Outcome = {
  kind: 'impossible',
  reason: 'ProbeImageMissing',
  message: 'there is no image to probe with, and the host has no cat and sleep to lend: set PROOF_IMAGE',
};

/** A sandbox that booted, with what was read inside, or how the attempt ended instead; then nothing is left to remove. */
export type Boot = { readonly id: string; readonly output: string } | { readonly outcome: Outcome };

/** Boots a sandbox in that place and reads {@link GUEST_FILES} in it. Rejects only when the signal is aborted. */
export async function bootAndRead(options: BootOptions, place: Place, signal: AbortSignal): Promise<Boot> {
  const { client, handler, bootTimeoutMs = BOOT_TIMEOUT_MS } = options;
  const begunMs = options.now();
  const deadline = begunMs + bootTimeoutMs;
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
    return { outcome: await explain(options, { error: reason ?? error, id, place, begunMs, bootTimeoutMs }) };
  } finally {
    done.abort();
  }
}
