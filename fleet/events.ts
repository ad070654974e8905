import type { Logger } from 'pino';
import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import type { Kube } from '../agent/kube/client.ts';
import { eventObject, eventsPath, type KubeEvent } from '../agent/kube/event.ts';
import type { Decision } from './decide.ts';
import { BREAKER_REASONS, type BreakerReason } from './decide.ts';
import type { FleetNode } from './node.ts';

/** Under which name events are created; the admission policy holds the same. */
const COMPONENT = 'gvisor-ready-fleet';

/** Creates events; one that cannot be created is logged, because the metric and the page say the same. */
export class FleetEvents {
  readonly #kube: Kube;
  readonly #log: Logger;

  constructor(kube: Kube, log: Logger) {
    this.#kube = kube;
    this.#log = log;
  }

  /** Tells on a Node that its label was withdrawn. */
  ofNode({ name, uid }: FleetNode, reason: string, message: string): void {
    this.#send({ about: { kind: 'Node', name, uid }, type: 'Warning', reason, message });
  }

  #ofFleet(type: 'Normal' | 'Warning', reason: string, message: string): void {
    const about = { kind: 'DaemonSet', apiVersion: 'apps/v1', namespace: NAMESPACE, name: DAEMON_SET };
    this.#send({ about, type, reason, message });
  }

  /** Tells in log and events when the brake came on or lifted. A rollout is no news: it makes no event. */
  ofBreaker(last: readonly BreakerReason[], { breaker, paused }: Pick<Decision, 'breaker' | 'paused'>): void {
    for (const reason of breaker) {
      if (last.includes(reason)) continue;
      this.#log.warn({ reason, paused }, 'withdrawals are held');
      if (reason === 'RollingOut') continue;
      const message = `${reason}: ${BREAKER_REASONS[reason]} No label is withdrawn.`;
      this.#ofFleet('Warning', 'WithdrawalsHeld', message);
    }
    if (breaker.length > 0 || last.length === 0) return;
    this.#log.info({ was: last }, 'withdrawals are no longer held; all timers restart');
    if (last.some((reason) => reason !== 'RollingOut'))
      this.#ofFleet('Normal', 'WithdrawalsFree', `${last.join(', ')} ended. All timers restart.`);
  }

  #send(event: KubeEvent): void {
    const generateName = `${event.about.name.slice(0, 200)}.`;
    const body = eventObject(event, { source: { component: COMPONENT }, at: new Date(), generateName });
    this.#kube
      .post(eventsPath(event), body)
      .catch((err: unknown) => this.#log.warn({ err, event }, 'cannot send the event'));
  }
}
