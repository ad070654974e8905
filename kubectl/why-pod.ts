import { type Explanation, explain, type Observation } from './explanation.ts';
import { count, named, READY } from './known.ts';
import type { NodeView, Taint } from './node-view.ts';
import { ageOf } from './output.ts';
import type { PodFacts } from './pod-facts.ts';
import { insideOf, meansGvisor, type RawPod, type Toleration } from './pod-view.ts';

/** Why a pod waits, was rejected, or does not run in gVisor. */
export function explainPod(facts: PodFacts, nowMs: number): Explanation {
  const { pod, warnings } = facts;
  const { phase = 'Unknown', reason = '' } = pod.status ?? {};
  const said = warnings
    .filter(({ message }, at) => warnings.findIndex((other) => other.message === message) === at)
    .slice(0, 3)
    .map(
      (event): Observation => ({
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
function aboutAsk(facts: PodFacts): Observation {
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

function running(facts: PodFacts, seen: readonly Observation[]): Explanation {
  const { pod, told, required } = facts;
  const { inGvisor, evidence } = insideOf(pod, told);
  const { nodeName } = pod.spec;
  const on = `${pod.metadata.namespace}/${pod.metadata.name} on ${nodeName}`;
  const asks = hasGvisorClass(facts);
  const all = (tone: Observation['tone']) => ({
    seen: [...seen, { tone, about: 'the agent', text: evidence }],
  });
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
function rejected({ pod, nodes }: PodFacts, seen: readonly Observation[]): Explanation {
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

function ended({ pod }: PodFacts, seen: readonly Observation[]): Explanation {
  const { phase, reason = '', message = '' } = pod.status ?? {};
  const headline = `${pod.metadata.namespace}/${pod.metadata.name} has ended (${phase}), which says nothing of gVisor`;
  const because = [[reason, message].filter(Boolean).join(': ')].filter(Boolean);
  return explain(phase === 'Succeeded' ? 'pass' : 'warning', headline, { because, seen });
}

/** Why a pod has no node yet: the scheduler's words, and which proven nodes are closed to it. */
export function unscheduled(facts: PodFacts, all: readonly Observation[]): Explanation {
  const { pod, nodes, runtimeClass } = facts;
  const conditions = pod.status?.conditions ?? [];
  const message = conditions.find(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  )?.message;
  const because = message === undefined ? [] : [message];
  // The scheduler says the same in an event.
  const seen = all.filter(({ text }) => text !== message);
  const headline = `${pod.metadata.namespace}/${pod.metadata.name} waits for a node`;
  if ((pod.spec.schedulingGates ?? []).length > 0)
    return explain('warning', `${headline}: its scheduling gates hold it back`, { because, seen });
  if (runtimeClass === '?' || !meansGvisor(runtimeClass))
    return explain('warning', `${headline}, and gVisor is not why: it does not ask for it`, {
      because,
      seen,
    });
  if (nodes === undefined) {
    const unseen = 'You may not list nodes, so it is not known which are proven.';
    return explain('fail', headline, { because: [...because, unseen], seen });
  }
  const obstacles = nodes.map((node) => [obstacleOf(pod, node) ?? 'free', node] as const);
  const at = (word: string) => obstacles.flatMap(([each, node]) => (each === word ? [node] : []));
  const others = (['NotReady', 'cordoned', 'its node selector', 'a taint'] as const).flatMap(
    (word): Observation[] => {
      const names = at(word).map(({ name }) => name);
      return names.length === 0
        ? []
        : [{ tone: 'warning', about: word, text: `keeps it from ${named(names)}` }];
    },
  );
  const unproven = at('not proven');
  const free = at('free').map(({ name }) => name);
  const [first] = free.length === 0 ? unproven : [];
  return explain('fail', headline, {
    because: [...because, aboutProven(nodes.length - unproven.length, nodes.length, free)],
    seen: [...seen, ...others, ...unproven.slice(0, 3).map((node) => aboutNode(node, nodes))],
    next:
      first === undefined
        ? []
        : [`See why a node is not proven: kubectl gvisor-ready why node/${first.name}`],
  });
}

function aboutProven(proven: number, all: number, free: readonly string[]): string {
  if (proven === 0) return 'gVisor is proven on no node.';
  const rest =
    free.length === 0
      ? 'Each of those is closed to this pod.'
      : `From ${named(free)} only the scheduler's own reasons keep it, such as room.`;
  return `gVisor is proven on ${proven} of ${count(all, 'node')}. ${rest}`;
}

/** Why a pod that has a node does not start there. */
export function starting({ pod, nodes, told }: PodFacts, seen: readonly Observation[]): Explanation {
  const { nodeName } = pod.spec;
  const node = nodes?.find(({ name }) => name === nodeName);
  const states = pod.status?.containerStatuses?.flatMap(({ state }) => state?.waiting ?? []) ?? [];
  const [waiting] = states;
  const unbooted = seen.some(({ about }) => about.startsWith('FailedCreatePodSandBox'));
  const report = told !== undefined && 'status' in told ? told.status : undefined;
  const what = unbooted ? 'its sandbox does not boot' : (waiting?.reason ?? 'its sandbox is not there yet');
  const fault = unbooted || (node !== undefined && node.ready !== 'true');
  return explain(
    fault ? 'fail' : 'warning',
    `${pod.metadata.namespace}/${pod.metadata.name} does not start on ${nodeName}: ${what}`,
    {
      because: waiting?.message === undefined ? [] : [waiting.message],
      seen: [
        ...seen,
        aboutNode(node, nodes),
        ...(report === undefined
          ? []
          : [
              {
                tone: report.verdict.status === 'True' ? 'pass' : 'fail',
                about: 'the agent',
                text: `${report.verdict.reason}: ${report.verdict.message}`,
              } as const,
            ]),
      ],
      next: [`See the node: kubectl gvisor-ready why node/${nodeName}`],
    },
  );
}

/** What a Node says, in a line. */
export function aboutNode(node: NodeView | undefined, nodes: readonly NodeView[] | undefined): Observation {
  if (nodes === undefined) return { tone: 'unknown', about: 'node', text: 'you may not list nodes' };
  if (node === undefined) return { tone: 'unknown', about: 'node', text: 'it is not there any more' };
  const { name, ready, reason } = node;
  const label = ready === '' ? 'has no label ready' : `says ready: "${ready}"`;
  return {
    tone: ready === 'true' ? 'pass' : 'fail',
    about: 'node',
    text: `${name} ${label}${reason && ` (${reason})`}`,
  };
}

/** Why a pod does not go to a proven node; undefined when nothing that is looked at speaks against it. */
export type Obstacle = 'not proven' | 'NotReady' | 'cordoned' | 'its node selector' | 'a taint';

/** What keeps a pod from a node, as far as labels, taints and the kubelet tell; resources and affinities are the scheduler's. */
export function obstacleOf(pod: RawPod, node: NodeView): Obstacle | undefined {
  if (node.ready !== 'true') return 'not proven';
  if (!node.alive) return 'NotReady';
  if (node.cordoned) return 'cordoned';
  const selector = Object.entries(pod.spec.nodeSelector ?? {});
  if (selector.some(([key, value]) => key !== READY && node.labels[key] !== value))
    return 'its node selector';
  const { tolerations = [] } = pod.spec;
  const repels = node.taints.some(
    (taint) => taint.effect !== 'PreferNoSchedule' && !tolerations.some((each) => tolerates(each, taint)),
  );
  return repels ? 'a taint' : undefined;
}

/** Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
function tolerates({ key, operator = 'Equal', value = '', effect }: Toleration, taint: Taint): boolean {
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false;
  if (key === undefined || key === '') return operator === 'Exists';
  return key === taint.key && (operator === 'Exists' || value === (taint.value ?? ''));
}
