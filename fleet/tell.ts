import type { Logger } from 'pino';
import type { Kube } from '../agent/kube/client.ts';
import { AGENTS, NAMESPACE } from './agents.ts';
import { BRAKE_REASONS, type BrakeReason } from './brake.ts';
import type { Decision } from './decide.ts';
import type { FleetNode } from './node.ts';

/** Under which name events are created; the admission policy holds the same. */
const COMPONENT = 'gvisor-ready-fleet';

type About = Readonly<Record<'kind' | 'apiVersion' | 'name', string>> & {
  readonly namespace?: string;
  readonly uid?: string;
};

/** Creates events; one that cannot be created is logged, since the metric and the page say the same. */
export class Teller {
  readonly #kube: Kube;
  readonly #log: Logger;

  constructor(kube: Kube, log: Logger) {
    this.#kube = kube;
    this.#log = log;
  }

  /** Tells on a Node that its label was withdrawn. */
  ofNode({ name, uid }: FleetNode, reason: string, message: string): void {
    this.#send(
      'default',
      { kind: 'Node', apiVersion: 'v1', name, uid },
      { type: 'Warning', reason, message },
    );
  }

  #ofFleet(type: 'Normal' | 'Warning', reason: string, message: string): void {
    const about = { kind: 'DaemonSet', apiVersion: 'apps/v1', namespace: NAMESPACE, name: AGENTS };
    this.#send(NAMESPACE, about, { type, reason, message });
  }

  /** Tells in log and events when the brake came on or lifted. A rollout is no news: it makes no event. */
  ofBrake(last: readonly BrakeReason[], { brake, held }: Pick<Decision, 'brake' | 'held'>): void {
    for (const reason of brake) {
      if (last.includes(reason)) continue;
      this.#log.warn({ reason, held }, 'withdrawals are held');
      if (reason === 'RollingOut') continue;
      const message = `${reason}: ${BRAKE_REASONS[reason]} No label is withdrawn.`;
      this.#ofFleet('Warning', 'WithdrawalsHeld', message);
    }
    if (brake.length > 0 || last.length === 0) return;
    this.#log.info({ was: last }, 'withdrawals are not held any more; all timers begin anew');
    if (last.some((reason) => reason !== 'RollingOut'))
      this.#ofFleet('Normal', 'WithdrawalsFree', `${last.join(', ')} ended. All timers begin anew.`);
  }

  #send(namespace: string, involvedObject: About, told: object): void {
    const time = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { generateName: `${involvedObject.name.slice(0, 200)}.`, namespace },
      involvedObject,
      ...told,
      source: { component: COMPONENT },
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
    };
    this.#kube
      .post(`/api/v1/namespaces/${namespace}/events`, body)
      .catch((err: unknown) => this.#log.warn({ err, event: told }, 'cannot send the event'));
  }
}
