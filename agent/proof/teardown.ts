import timers from 'node:timers/promises';
import type { CriClient } from '../cri/client.ts';
import { CriError } from '../cri/error.ts';
import type { Host } from '../host/host.ts';
import { readPressure } from '../host/pressure.ts';
import { impossible, type Outcome } from './outcome.ts';

/**
 * How long a stop may take. Measured: 0.25 s on an idle node, 6 s on one with eight times its work. Stopped after a
 * restart of containerd in the middle of a probe, a sandbox may never answer.
 */
const STOP_MS = 20_000;
/** A stop that meets the kubelet's own fails once, and has nothing left to do a moment later. */
const PAUSES_MS = [100, 400, 1_500, 4_000];

/**
 * Stops and removes the sandbox of a probe; an outcome when it does not go away, which pods would suffer from as
 * well, or when a node under pressure does not tell in time. One that is stopped and cannot be removed `stays`, which says
 * nothing of pods: it is left to the next sweep.
 */
export async function tearDown(
  { client, host }: { readonly client: CriClient; readonly host: Host },
  id: string,
  stopMs = STOP_MS,
): Promise<Outcome | 'stays' | undefined> {
  for (const pauseMs of [...PAUSES_MS, undefined]) {
    try {
      await client.stopSandbox(id, { timeoutMs: stopMs });
      break;
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') return undefined;
      if (error.kind === 'unreachable') return impossible(error);
      if (pauseMs === undefined || error.kind === 'late') {
        if (!(await isReady(client, id))) break;
        const message = `a probe's sandbox does not go away, StopPodSandbox failed: ${error.message}`;
        // The kubelet's own stop of it may take longer than our pauses, too.
        if ((await readPressure(host)) !== undefined)
          return { kind: 'impossible', reason: 'CheckTimedOut', message };
        return { kind: 'stuck', reason: 'SandboxStuck', message };
      }
      await timers.setTimeout(pauseMs);
    }
  }
  return client.removeSandbox(id, { timeoutMs: stopMs }).then(
    () => undefined,
    () => 'stays',
  );
}

/** Whether containerd says that the sandbox runs; without an answer in time, it may run. */
async function isReady(client: CriClient, id: string): Promise<boolean> {
  return client.sandbox(id).then(
    ({ state }) => state === 'SANDBOX_READY',
    (error: unknown) => !(error instanceof CriError && error.kind === 'absent'),
  );
}
