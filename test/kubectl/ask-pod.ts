import type { TestContext } from 'node:test';
import type { podOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

/** Asks why of a pod, which is all that the fleet has beside its agents. */
export async function askPod(
  t: TestContext,
  pod: ReturnType<typeof podOf>,
  change: (fleet: Awaited<ReturnType<typeof openFleet>>) => void = () => {},
) {
  const fleet = await openFleet(t);
  const { name } = pod.metadata;
  fleet.api.behind.set(`/api/v1/namespaces/eval/pods/${name}`, pod);
  change(fleet);
  const { code, out } = await fleet.run(`why ${name}`);
  return { code, out, text: out.replace(/\s+/g, ' ') };
}

/** A warning about an object of the namespace `eval`. */
export const eventOf = (reason: string, message: string, name = 'x') => ({
  reason,
  message,
  lastTimestamp: '2026-03-01T11:59:00Z',
  involvedObject: { kind: 'Pod', name },
});
