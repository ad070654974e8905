import type { Logger } from 'pino';
import type { Pod, WeakenedPod } from '../pods/pod.ts';
import type { EventSender } from './events.ts';

/** The reasons in events on pods: one that must run in gVisor and does not, and one whose sandbox is weakened. */
const UNSANDBOXED = 'UnsandboxedPod';
const WEAKENED = 'WeakenedPod';

/** Reports each such pod once: in the log, and with an event on the pod. */
export class PodReporter {
  readonly #log: Logger;
  readonly #events: Pick<EventSender, 'send'> | undefined;
  #reported: ReadonlySet<string> = new Set();

  constructor(log: Logger, events: Pick<EventSender, 'send'> | undefined) {
    this.#log = log;
    this.#events = events;
  }

  publish(unsandboxed: readonly Pod[], weakened: readonly WeakenedPod[]): void {
    for (const pod of unsandboxed)
      if (!this.#reported.has(keyOf(UNSANDBOXED, pod))) this.#reportUnsandboxed(pod);
    for (const pod of weakened) if (!this.#reported.has(keyOf(WEAKENED, pod))) this.#reportWeakened(pod);
    this.#reported = new Set([
      ...unsandboxed.map((pod) => keyOf(UNSANDBOXED, pod)),
      ...weakened.map((pod) => keyOf(WEAKENED, pod)),
    ]);
  }

  #reportUnsandboxed(pod: Pod): void {
    const { handler, evidence } = pod;
    const fields = { reason: UNSANDBOXED, ...named(pod), handler, evidence };
    this.#log.error(fields, 'a pod runs outside gVisor in a namespace that requires it');
    const message = `This pod runs on the kernel of the node, and its namespace requires gVisor (require-gvisor=true): ${evidence}, handler "${handler}". End it, and start it with a runtimeClassName of gVisor.`;
    this.#send(pod, UNSANDBOXED, message);
  }

  #reportWeakened(pod: WeakenedPod): void {
    const { handler, evidence } = pod;
    this.#log.warn(
      { reason: WEAKENED, ...named(pod), handler, evidence },
      'the sandbox of a pod is weakened',
    );
    const message = `The sandbox of this pod is weakened: ${evidence}, handler "${handler}". Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.`;
    this.#send(pod, WEAKENED, message);
  }

  #send({ namespace, name, uid }: Pod, reason: string, message: string): void {
    this.#events?.send({ about: { kind: 'Pod', namespace, name, uid }, type: 'Warning', reason, message });
  }
}

function named({ namespace, name, uid }: Pod) {
  return { namespace, pod: name, uid };
}

function keyOf(reason: string, { namespace, name, uid }: Pod): string {
  return `${reason} ${namespace}/${name}/${uid}`;
}
