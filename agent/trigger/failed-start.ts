/** A tenant whose pods fail must cost no more than one evaluation in so long. */
const REST_MS = 10_000;

/**
 * Pushes a trigger for a pod that could not start: at once, or after a rest since this handler's last evaluation, unless
 * another one ends meanwhile. The state of other handlers changes nothing.
 */
export function onFailedStart(agent: { readonly idleMs: number }, push: () => void): void {
  const pushRested = () => {
    if (agent.idleMs >= REST_MS) push();
  };
  const restMs = Math.min(REST_MS - agent.idleMs, REST_MS) + 1;
  if (restMs <= 1) pushRested();
  else setTimeout(pushRested, restMs).unref();
}
