import type { Logger } from 'pino';
import { type EventSender, type KubeEvent, MAX_EVENT_MESSAGE } from '../../lib/kube/event.ts';
import type { Pod, WeakenedPod } from '../../lib/pods/pod.ts';
import { shortIds, truncateMiddle } from '../../lib/report/format.ts';
import type { Verdict } from '../../lib/report/verdict.ts';

const PROBLEMS = {
  handler: {
    reason: 'UnsandboxedPod',
    level: 'error',
    line: 'a pod asked for gVisor and runs outside it',
    what: 'This pod runs on the kernel of the node, and its handler is to be gVisor',
    remedy: 'End it, and start it again once the handler is proven.',
  },
  namespace: {
    reason: 'UnsandboxedPod',
    level: 'error',
    line: 'a pod runs outside gVisor in a namespace that requires it',
    what: 'This pod runs on the kernel of the node, and its namespace requires gVisor (gvisor-ready.dev/require=true)',
    remedy: 'End it, and start it with a runtimeClassName of gVisor.',
  },
  weakened: {
    reason: 'WeakenedPod',
    level: 'warn',
    line: 'the sandbox of a pod is weakened',
    what: 'The sandbox of this pod is weakened',
    remedy: 'Remove its annotations dev.gvisor.* that do this, if there are any, and start it again.',
  },
} as const;

/** Reports each unsandboxed or weakened pod once, in the log and with an event on the pod. */
export function createPodReporter(
  log: Logger,
  events: EventSender | undefined,
  handlers: readonly string[] = [],
) {
  let reported: ReadonlySet<string> = new Set();
  return (unsandboxed: readonly Pod[], weakened: readonly WeakenedPod[]): void => {
    const seen = new Set<string>();
    const report = (problem: keyof typeof PROBLEMS, pod: Pod) => {
      const { namespace, name, uid, handler, evidence } = pod;
      const { reason, level, line, what, remedy } = PROBLEMS[problem];
      const key = `${reason} ${namespace}/${name}/${uid}`;
      seen.add(key);
      if (reported.has(key)) return;
      log[level]({ reason, namespace, pod: name, uid, handler, evidence }, line);
      const message = `${what}: ${evidence}, handler "${handler}". ${remedy}`;
      events?.send({ about: { kind: 'Pod', namespace, name, uid }, type: 'Warning', reason, message });
    };
    for (const pod of unsandboxed) report(handlers.includes(pod.handler) ? 'handler' : 'namespace', pod);
    for (const pod of weakened) report('weakened', pod);
    reported = seen;
  };
}

export function eventOf(verdict: Verdict, name: string, uid: string): KubeEvent {
  const { status, reason } = verdict;
  const type = status === 'True' ? 'Normal' : 'Warning';
  const message = truncateMiddle(shortIds(verdict.message), MAX_EVENT_MESSAGE);
  return { about: { kind: 'Node', name, uid }, type, reason, message };
}
