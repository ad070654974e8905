import assert from 'node:assert/strict';
import type { NodeClient } from './integration-cluster.ts';

/**
 * What is left is at most what a containerd killed in the middle of a proof finds again and refuses to stop, for good:
 * a sandbox whose container was created and not yet started takes no signal.
 */
export async function assertNoneToStop(client: NodeClient): Promise<void> {
  for (const id of await client.readyProbes()) {
    const stopping = client.stopSandbox(id, { timeoutMs: 10_000 });
    await assert.rejects(stopping, { name: 'CriError', kind: 'refused' }, id);
  }
}

/** Waits a random time of at most so many milliseconds. */
export async function randomPause(mostMs: number): Promise<void> {
  await new Promise((wake) => setTimeout(wake, Math.random() * mostMs));
}
