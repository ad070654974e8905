import timers from 'node:timers/promises';
import type { CriClient } from '../host/cri-client.ts';
import type { Housekeeping } from './housekeeping.ts';
import { newSandbox } from './sandbox-config.ts';
import { tearDown } from './teardown.ts';
import { stateOf } from './watch.ts';

/** Longer than the kubelet's period of 2 s, with the time that it takes to stop a sandbox. */
const PATIENCE_MS = 3_000;
const ASK_EVERY_MS = 50;
const TEARDOWN_MS = 2_000;
/** Measured on containerd 2.4 and 1.7: the moments at which it was seen differed by less than 0.2 s. */
const SEEN_AFTER_MS = 100;

/**
 * Learns when the kubelet looks for sandboxes that it does not know: lets it stop one that is in no danger, an
 * empty one of the default runtime, and notes the moment. So no proof has to be stopped for it, which could leave a
 * shim of gVisor that deadlocks. Whatever goes wrong, a proof tells more of it.
 */
export async function learnHousekeeping(
  client: CriClient,
  housekeeping: Housekeeping,
  cgroupParent: string,
  signal: AbortSignal,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  // On the host's network runc takes no name of a host.
  const config = { ...newSandbox(cgroupParent), hostname: '' };
  const request = { config, runtimeHandler: '' };
  const answer = client.call<{ podSandboxId: string }>('RunPodSandbox', request, { signal });
  const id = await answer.then(
    ({ podSandboxId }) => podSandboxId,
    () => undefined,
  );
  if (id === undefined) return;
  const deadline = AbortSignal.timeout(patienceMs);
  const either = AbortSignal.any([signal, deadline]);
  while (!either.aborted) {
    const state = await stateOf(client, id);
    if (state !== undefined && state !== 'SANDBOX_READY') {
      housekeeping.noticed(SEEN_AFTER_MS);
      break;
    }
    await timers.setTimeout(ASK_EVERY_MS, undefined, { signal: either }).catch(() => {});
  }
  await tearDown({ client, teardownTimeoutMs: TEARDOWN_MS }, id).catch(() => {});
}
