import timers from 'node:timers/promises';
import type { CriClient } from '../cri/client.ts';

const AGAIN_MS = 10_000;

/**
 * Calls `onChange` when containerd reports a new or removed container, until the signal ends it. It does not subscribe to
 * containerd 1.x, which gives each event to a single listener: the kubelet may be one.
 * Source: https://github.com/containerd/containerd/blob/v1.7.34/pkg/cri/server/container_events.go
 */
export async function watchContainers(
  client: CriClient,
  onChange: () => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const { runtimeVersion } = await client.version({ signal });
      if (!/^v?1\./.test(runtimeVersion)) for await (const _ of client.containerEvents(signal)) onChange();
    } catch {
      // The pods are read every few seconds all the same.
    }
    await timers.setTimeout(AGAIN_MS, undefined, { signal }).catch(() => {});
  }
}
