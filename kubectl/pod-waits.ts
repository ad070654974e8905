import { type Explanation, explain, type Seen } from './explanation.ts';
import { obstacleOf } from './fits.ts';
import { count, named } from './known.ts';
import type { NodeView } from './node-view.ts';
import type { PodFacts } from './pod-facts.ts';
import { meansGvisor } from './pod-view.ts';

/** Why a pod has no node yet: the scheduler's words, and which proven nodes are closed to it. */
export function unscheduled(facts: PodFacts, all: readonly Seen[]): Explanation {
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
    (word): Seen[] => {
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
export function starting({ pod, nodes, told }: PodFacts, seen: readonly Seen[]): Explanation {
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
export function aboutNode(node: NodeView | undefined, nodes: readonly NodeView[] | undefined): Seen {
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
