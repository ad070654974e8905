import type { Logger } from 'pino';
import type { Pod } from '../pods/pod.ts';
import type { EventSender } from './events.ts';

/** The reason in the event on a pod that runs outside gVisor where it must not. */
const REASON = 'UnsandboxedPod';

/** Says once of each pod that must run in gVisor and does not: with an error in the log and an event on the pod. */
export class UnsandboxedReporter {
  readonly #log: Logger;
  readonly #events: Pick<EventSender, 'send'> | undefined;
  #said: ReadonlySet<string> = new Set();

  constructor(log: Logger, events: Pick<EventSender, 'send'> | undefined) {
    this.#log = log;
    this.#events = events;
  }

  publish(unsandboxed: readonly Pod[]): void {
    for (const pod of unsandboxed) if (!this.#said.has(keyOf(pod))) this.#say(pod);
    this.#said = new Set(unsandboxed.map(keyOf));
  }

  #say({ namespace, name, uid, handler, evidence }: Pod): void {
    this.#log.error(
      { reason: REASON, namespace, pod: name, uid, handler, evidence },
      'a pod runs outside gVisor in a namespace that requires it',
    );
    const message = `This pod runs on the kernel of the node, and its namespace requires gVisor (require-gvisor=true): ${evidence}, handler "${handler}". End it, and start it with a runtimeClassName of gVisor.`;
    const about = { kind: 'Pod', namespace, name, uid };
    this.#events?.send({ about, type: 'Warning', reason: REASON, message });
  }
}

function keyOf({ namespace, name, uid }: Pod): string {
  return `${namespace}/${name}/${uid}`;
}
