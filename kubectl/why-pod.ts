import { ageOf } from './age.ts';
import { type Explanation, explain, type Seen } from './explanation.ts';
import type { PodFacts } from './pod-facts.ts';
import { insideOf, meansGvisor } from './pod-view.ts';
import { aboutNode, starting, unscheduled } from './pod-waits.ts';

/** Why a pod waits, was rejected, or does not run in gVisor. */
export function explainPod(facts: PodFacts, nowMs: number): Explanation {
  const { pod, warnings } = facts;
  const { phase = 'Unknown', reason = '' } = pod.status ?? {};
  const said = warnings
    .filter(({ message }, at) => warnings.findIndex((other) => other.message === message) === at)
    .slice(0, 3)
    .map(
      (event): Seen => ({
        tone: 'warning',
        about: `${event.reason} ${ageOf(event.at, nowMs)} ago`,
        text: event.message,
      }),
    );
  const seen = [aboutAsk(facts), ...said];
  if (phase === 'Running') return running(facts, seen);
  if (phase === 'Failed' && reason === 'NodeAffinity') return rejected(facts, seen);
  if (phase === 'Succeeded' || phase === 'Failed') return ended(facts, seen);
  return pod.spec.nodeName === undefined ? unscheduled(facts, seen) : starting(facts, seen);
}

function hasGvisorClass({ runtimeClass }: PodFacts): boolean {
  return runtimeClass !== '?' && meansGvisor(runtimeClass);
}

/** What the pod asks for. */
function aboutAsk(facts: PodFacts): Seen {
  const { pod, runtimeClass, required } = facts;
  const namespace =
    required === undefined
      ? 'you may not see whether its namespace requires gVisor'
      : `its namespace ${required ? 'requires' : 'does not require'} gVisor`;
  const name = `the RuntimeClass "${pod.spec.runtimeClassName}"`;
  const about = 'asks for';
  if (runtimeClass === undefined)
    return { tone: required ? 'fail' : 'pass', about, text: `no RuntimeClass; ${namespace}` };
  if (runtimeClass === '?')
    return { tone: 'fail', about, text: `${name}, which is not there or not to be seen; ${namespace}` };
  const other = hasGvisorClass(facts) ? '' : ', which is not one of gVisor';
  return {
    tone: other !== '' && required ? 'fail' : 'pass',
    about,
    text: `${name}, handler "${runtimeClass.handler}"${other}; ${namespace}`,
  };
}

function running(facts: PodFacts, seen: readonly Seen[]): Explanation {
  const { pod, told, required } = facts;
  const { inGvisor, evidence } = insideOf(pod, told);
  const { nodeName } = pod.spec;
  const on = `${pod.metadata.namespace}/${pod.metadata.name} on ${nodeName}`;
  const asks = hasGvisorClass(facts);
  const all = (tone: Seen['tone']) => ({ seen: [...seen, { tone, about: 'the agent', text: evidence }] });
  if (inGvisor === 'yes') return explain('pass', `${on} runs in gVisor`, all('pass'));
  if (inGvisor === 'open')
    return explain(
      required || asks ? 'fail' : 'warning',
      `${on} runs in gVisor, with a way out to the host`,
      {
        ...all('fail'),
        because: [
          'A flag of its sandbox opens it: an annotation dev.gvisor.* of the pod, or the configuration of the node when it started.',
        ],
        next: [
          `See the node: kubectl gvisor-ready why node/${nodeName}`,
          'End the pod, and create it again without annotations dev.gvisor.*.',
        ],
        docs: 'docs/runbooks/GVisorUnsandboxedPods.md',
      },
    );
  if (inGvisor === '?') return explain('unknown', `${on} runs, and nothing tells in what`, all('unknown'));
  if (!required && !asks) {
    const because = ['To run in gVisor a pod says runtimeClassName: gvisor.'];
    return explain('pass', `${on} runs outside of gVisor, as it asks`, { ...all('pass'), because });
  }
  return explain('fail', `${on} runs on the kernel of the node, not in gVisor`, {
    ...all('fail'),
    because: [
      asks
        ? 'Its RuntimeClass means gVisor, and its process is not that of gVisor: the handler of this node leads elsewhere, or did when the pod started.'
        : 'Its namespace requires gVisor. The pod was created before that, or while the policies were not in force.',
    ],
    next: asks
      ? [
          `See the node: kubectl gvisor-ready why node/${nodeName}`,
          'Then end the pod, and let it be created again.',
        ]
      : ['End it, and create it again with runtimeClassName: gvisor.'],
    docs: 'docs/runbooks/GVisorUnsandboxedPods.md',
  });
}

/** The kubelet looks at the node selector once more when it starts a pod, and when it restarts itself. */
function rejected({ pod, nodes }: PodFacts, seen: readonly Seen[]): Explanation {
  const { nodeName } = pod.spec;
  const node = nodes?.find(({ name }) => name === nodeName);
  return explain('fail', `${pod.metadata.namespace}/${pod.metadata.name} was rejected by ${nodeName}`, {
    because: [
      ...(pod.status?.message === undefined ? [] : [pod.status.message]),
      'The node lost its label after the scheduler had chosen it, or its kubelet restarted while the label was gone.',
    ],
    seen: [...seen, aboutNode(node, nodes)],
    next: [
      'Create it again, or let its controller do so: it then goes to a proven node.',
      ...(node?.ready === 'true'
        ? []
        : [`See why the node is not ready: kubectl gvisor-ready why node/${nodeName}`]),
    ],
  });
}

function ended({ pod }: PodFacts, seen: readonly Seen[]): Explanation {
  const { phase, reason = '', message = '' } = pod.status ?? {};
  const headline = `${pod.metadata.namespace}/${pod.metadata.name} has ended (${phase}), which says nothing of gVisor`;
  const because = [[reason, message].filter(Boolean).join(': ')].filter(Boolean);
  return explain(phase === 'Succeeded' ? 'pass' : 'warning', headline, { because, seen });
}
