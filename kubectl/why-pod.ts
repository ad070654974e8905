import { ageOf } from './age.ts';
import { listAgents, orAbsent, readReport, type Told } from './agents.ts';
import type { Api } from './api.ts';
import type { Explanation, Seen } from './explanation.ts';
import { obstacleOf } from './fits.ts';
import { count, named } from './known.ts';
import { listNodes, type NodeView } from './node-view.ts';
import {
  insideOf,
  listClasses,
  listRequirements,
  meansGvisor,
  type RawPod,
  type RuntimeClass,
} from './pod-view.ts';

/** All that is known of a pod. */
export type PodFacts = {
  readonly pod: RawPod;
  /** Undefined where it names none; "?" where there is none of that name. */
  readonly runtimeClass: RuntimeClass | '?' | undefined;
  /** Whether its namespace is labelled require-gvisor=true. */
  readonly required: boolean;
  readonly nodes: readonly NodeView[];
  readonly told: Told | undefined;
  /** The messages of its warnings, the newest first. */
  readonly warnings: readonly PodEvent[];
};

/** A warning of the kubelet, the scheduler or the agent about a pod. */
export type PodEvent = {
  readonly reason: string;
  readonly message: string;
  readonly at: string;
  /** The name of the object that it is about. */
  readonly about: string;
};

/** Reads all that may say why a pod is as it is; what one may not read is taken as absent. */
export async function readPodFacts(api: Api, pod: RawPod): Promise<PodFacts> {
  const { namespace, uid } = pod.metadata;
  const { runtimeClassName = '', nodeName = '' } = pod.spec;
  const [classes, requirements, nodes, agents, warnings] = await Promise.all([
    orAbsent(listClasses(api), [403]),
    orAbsent(listRequirements(api), [403]),
    listNodes(api),
    orAbsent(listAgents(api), [403]),
    orAbsent(readWarnings(api, namespace, `involvedObject.uid=${uid}`), [403]),
  ]);
  const agent = agents?.find(({ node, state }) => node === nodeName && state === 'Running');
  return {
    pod,
    runtimeClass: runtimeClassName === '' ? undefined : (classes?.get(runtimeClassName) ?? '?'),
    required: requirements?.get(namespace) === 'true',
    nodes,
    told: agent === undefined ? undefined : await readReport(api, agent),
    warnings: warnings ?? [],
  };
}

/** The warnings about one object of a namespace, or about all, the newest first. */
export async function readWarnings(
  api: Api,
  namespace: string,
  selector: string,
): Promise<readonly PodEvent[]> {
  type Raw = {
    readonly reason?: string;
    readonly message?: string;
    readonly lastTimestamp?: string;
    readonly eventTime?: string;
    readonly involvedObject?: { readonly kind?: string; readonly name?: string };
  };
  const query = { fieldSelector: `type=Warning,${selector}` };
  const { items } = await api.list<Raw, PodEvent>(
    `/api/v1/namespaces/${namespace}/events`,
    query,
    (event) => ({
      reason: event.reason ?? '',
      message: event.message ?? '',
      at: event.lastTimestamp || event.eventTime || '',
      about: event.involvedObject?.name ?? '',
    }),
  );
  return items.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
}

/** Why a pod waits, was rejected, or does not run in gVisor. */
export function explainPod(facts: PodFacts, nowMs: number): Explanation {
  const { pod } = facts;
  const { phase = 'Unknown', reason = '' } = pod.status ?? {};
  const said = facts.warnings
    .filter(({ message }, at, all) => all.findIndex((other) => other.message === message) === at)
    .slice(0, 3)
    .map(
      ({ reason: word, message, at }): Seen => ({
        tone: 'warning',
        about: `${word} ${ageOf(at, nowMs)} ago`,
        text: message,
      }),
    );
  const seen = [aboutAsk(facts), ...said];
  if (phase === 'Running') return running(facts, seen);
  if (phase === 'Failed' && reason === 'NodeAffinity') return rejected(facts, seen);
  if (phase === 'Succeeded' || phase === 'Failed') return ended(facts, seen);
  return pod.spec.nodeName === undefined ? unscheduled(facts, seen) : starting(facts, seen);
}

const nameOf = ({ metadata }: RawPod) => `${metadata.namespace}/${metadata.name}`;
const hasGvisorClass = ({ runtimeClass }: PodFacts) => runtimeClass !== '?' && meansGvisor(runtimeClass);

/** What the pod asks for. */
function aboutAsk(facts: PodFacts): Seen {
  const { pod, runtimeClass, required } = facts;
  const { runtimeClassName = '' } = pod.spec;
  const namespace = `its namespace ${required ? 'requires' : 'does not require'} gVisor`;
  if (runtimeClass === undefined)
    return { tone: required ? 'fail' : 'pass', about: 'asks for', text: `no RuntimeClass; ${namespace}` };
  if (runtimeClass === '?')
    return {
      tone: 'fail',
      about: 'asks for',
      text: `the RuntimeClass "${runtimeClassName}", which is not there or not to be seen; ${namespace}`,
    };
  const { handler } = runtimeClass;
  const isGvisor = hasGvisorClass(facts) ? '' : ', which is not gVisor’s';
  return {
    tone: isGvisor && required ? 'fail' : 'pass',
    about: 'asks for',
    text: `the RuntimeClass "${runtimeClassName}", handler "${handler}"${isGvisor}; ${namespace}`,
  };
}

function running(facts: PodFacts, seen: readonly Seen[]): Explanation {
  const { pod, told, required } = facts;
  const { inGvisor, evidence } = insideOf(pod, told);
  const on = `${nameOf(pod)} on ${pod.spec.nodeName}`;
  const wanted = required || hasGvisorClass(facts);
  const docs = required
    ? 'docs/runbooks/GVisorUnsandboxedPods.md'
    : 'docs/operations.md#when-something-is-wrong';
  const all = [
    ...seen,
    {
      tone: inGvisor === 'yes' ? 'pass' : inGvisor === '?' ? 'unknown' : wanted ? 'fail' : 'pass',
      about: 'the agent',
      text: evidence,
    } as const,
  ];
  if (inGvisor === 'yes')
    return { tone: 'pass', headline: `${on} runs in gVisor`, because: [], seen: all, next: [], docs };
  if (inGvisor === '?')
    return {
      tone: 'unknown',
      headline: `${on} runs, and nothing tells in what`,
      because: [],
      seen: all,
      next: [],
      docs,
    };
  if (!wanted)
    return {
      tone: 'pass',
      headline: `${on} runs outside of gVisor, as it asks`,
      because: ['To run in gVisor a pod says runtimeClassName: gvisor.'],
      seen: all,
      next: [],
      docs,
    };
  const because = hasGvisorClass(facts)
    ? 'Its RuntimeClass means gVisor, and its process is not gVisor’s: the handler of this node leads elsewhere, or did when the pod started.'
    : 'Its namespace requires gVisor. The pod was created before that, or while the policies were not in force.';
  const next = hasGvisorClass(facts)
    ? [
        `See the node: kubectl gvisor-ready why node/${pod.spec.nodeName}`,
        'Then end the pod, and let it be created again.',
      ]
    : ['End it, and create it again with runtimeClassName: gvisor.'];
  return {
    tone: 'fail',
    headline: `${on} runs on the kernel of the node, not in gVisor`,
    because: [because],
    seen: all,
    next,
    docs,
  };
}

/** The kubelet looks at the node selector once more when it starts a pod, and when it restarts itself. */
function rejected({ pod, nodes }: PodFacts, seen: readonly Seen[]): Explanation {
  const node = nodes.find(({ name }) => name === pod.spec.nodeName);
  return {
    tone: 'fail',
    headline: `${nameOf(pod)} was rejected by ${pod.spec.nodeName}: the node lost its label before the pod ran there, or while it did`,
    because: [pod.status?.message ?? ''].filter(Boolean),
    seen: [...seen, aboutNode(node)],
    next: [
      'Create it again, or let its controller do so: it then goes to a proven node.',
      ...(node?.ready === 'true'
        ? []
        : [`See why the node is not ready: kubectl gvisor-ready why node/${pod.spec.nodeName}`]),
    ],
    docs: 'docs/operations.md#when-something-is-wrong',
  };
}

function ended({ pod }: PodFacts, seen: readonly Seen[]): Explanation {
  const { phase, reason = '', message = '' } = pod.status ?? {};
  const tone = phase === 'Succeeded' ? 'pass' : 'warning';
  const because = [[reason, message].filter(Boolean).join(': ')].filter(Boolean);
  return {
    tone,
    headline: `${nameOf(pod)} has ended (${phase}), which says nothing of gVisor`,
    because,
    seen,
    next: [],
    docs: 'docs/operations.md#when-something-is-wrong',
  };
}

function unscheduled(facts: PodFacts, seen: readonly Seen[]): Explanation {
  const { pod, nodes } = facts;
  const { conditions = [] } = pod.status ?? {};
  const message =
    conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False')?.message ?? '';
  const headline = `${nameOf(pod)} waits for a node`;
  const docs = 'docs/operations.md#when-something-is-wrong';
  if ((pod.spec.schedulingGates ?? []).length > 0)
    return {
      tone: 'warning',
      headline: `${headline}: its scheduling gates hold it back`,
      because: [message].filter(Boolean),
      seen,
      next: [],
      docs,
    };
  if (!hasGvisorClass(facts))
    return {
      tone: 'warning',
      headline: `${headline}, and gVisor is not why: it does not ask for it`,
      because: [message].filter(Boolean),
      seen,
      next: [],
      docs,
    };
  const obstacles = nodes.map((node) => [obstacleOf(pod, node) ?? 'free', node] as const);
  const at = (word: string) => obstacles.flatMap(([each, node]) => (each === word ? [node] : []));
  const unproven = at('not proven');
  const free = at('free').map(({ name }) => name);
  const others = (['NotReady', 'cordoned', 'another node selector', 'a taint'] as const).flatMap((word) => {
    const names = at(word).map(({ name }) => name);
    return names.length === 0
      ? []
      : [{ tone: 'warning', about: word, text: `keeps it from ${named(names)}` } as const];
  });
  const proven = nodes.length - unproven.length;
  const because =
    proven === 0
      ? 'gVisor is proven on no node.'
      : `gVisor is proven on ${proven} of ${count(nodes.length, 'node')}. ${
          free.length === 0
            ? 'Each of those is closed to this pod.'
            : `From ${named(free)} only the scheduler’s own reasons keep it, such as room.`
        }`;
  return {
    tone: 'fail',
    headline,
    because: [message, because].filter(Boolean),
    seen: [...seen, ...others, ...unproven.slice(0, 3).map(aboutNode)],
    next:
      proven === 0 || free.length === 0
        ? unproven
            .slice(0, 1)
            .map(({ name }) => `See why a node is not proven: kubectl gvisor-ready why node/${name}`)
        : [],
    docs,
  };
}

/** Scheduled, and its sandbox or a container does not start. */
function starting({ pod, nodes, told }: PodFacts, seen: readonly Seen[]): Explanation {
  const node = nodes.find(({ name }) => name === pod.spec.nodeName);
  const waiting = pod.status?.containerStatuses?.find(({ state }) => state?.waiting !== undefined)?.state
    ?.waiting;
  const sandbox = seen.find(({ about }) => about.startsWith('FailedCreatePodSandBox'));
  const report = told !== undefined && 'status' in told ? told.status : undefined;
  const verdict: Seen[] =
    report === undefined
      ? []
      : [
          {
            tone: report.verdict.status === 'True' ? 'pass' : 'fail',
            about: 'the agent',
            text: `${report.verdict.reason}: ${report.verdict.message}`,
          },
        ];
  return {
    tone: 'fail',
    headline: `${nameOf(pod)} does not start on ${pod.spec.nodeName}: ${sandbox === undefined ? (waiting?.reason ?? 'its sandbox is not there yet') : 'its sandbox does not boot'}`,
    because: [waiting?.message ?? ''].filter(Boolean),
    seen: [...seen, aboutNode(node), ...verdict],
    next: [`See the node: kubectl gvisor-ready why node/${pod.spec.nodeName}`],
    docs: 'docs/operations.md#when-something-is-wrong',
  };
}

function aboutNode(node: NodeView | undefined): Seen {
  if (node === undefined) return { tone: 'unknown', about: 'node', text: 'it is not there any more' };
  const { name, ready, reason } = node;
  const label = ready === '' ? 'has no label ready' : `says ready: "${ready}"`;
  return {
    tone: ready === 'true' ? 'pass' : 'fail',
    about: 'node',
    text: `${name} ${label}${reason && ` (${reason})`}`,
  };
}
