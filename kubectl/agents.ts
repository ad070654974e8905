import { pooledMap } from '../agent/async.ts';
import { AGENT_PORT, AGENT_SELECTOR, NAMESPACE } from '../agent/kube/access.ts';
import { KubeError } from '../agent/kube/error.ts';
import type { Status } from '../agent/report.ts';
import { errorLine } from '../agent/sanitize.ts';
import { isOfDaemonSet } from '../fleet/objects.ts';
import type { Answer, Api } from './api.ts';
import { MAX_WORD } from './node-view.ts';
import { sanitize, sanitizeValues } from './output.ts';

/** Whether what an agent told is a report as far as one is read: a node that was taken over may tell anything. */
export function isReport(told: unknown): told is Status {
  if (!hasTexts(told, 'node')) return false;
  const { verdict, evaluation, provenAt = '', findings, proof, pods } = told;
  return (
    hasTexts(verdict, 'status', 'reason', 'message') &&
    hasTexts(evaluation, 'at') &&
    typeof provenAt === 'string' &&
    areAll(findings, isFinding) &&
    hasTexts(proof, 'kind', 'message') &&
    (pods === undefined || arePods(pods))
  );
}

function isFinding(value: unknown): boolean {
  if (!hasTexts(value, 'check', 'status', 'message')) return false;
  const { status, reason, evidence = [] } = value;
  return (status !== 'fail' || typeof reason === 'string') && areAll(evidence, isEvidence);
}

function isEvidence(value: unknown): boolean {
  if (!hasTexts(value, 'value')) return false;
  const { file = '', line = 0 } = value;
  return typeof file === 'string' && typeof line === 'number';
}

function arePods(value: unknown): boolean {
  if (!hasTexts(value, 'at')) return false;
  // Agents of before do not tell which are inside, nor which are weakened.
  const { violating, permitted, unknown, sandboxedUids = [], weakened = [] } = value;
  const isPod = (each: unknown) => hasTexts(each, 'uid', 'evidence');
  return (
    [violating, permitted, unknown].every((some) => areAll(some, isPod)) &&
    Array.isArray(sandboxedUids) &&
    areAll(weakened, isWeakened)
  );
}

function isWeakened(value: unknown): boolean {
  if (!hasTexts(value, 'uid', 'evidence')) return false;
  return areAll(value.weak, (each) => hasTexts(each, 'severity'));
}

function hasTexts(value: unknown, ...names: readonly string[]): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  return names.every((name) => typeof (value as Readonly<Record<string, unknown>>)[name] === 'string');
}

function areAll(value: unknown, is: (each: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(is);
}

/** A pod of an agent. */
export type AgentPod = {
  readonly name: string;
  readonly node: string;
  readonly ready: boolean;
  /** As kubectl shows it: Running, Pending, ImagePullBackOff … */
  readonly state: string;
  /** Why it does not run, in the kubelet's or the scheduler's words; "" where it does. */
  readonly message: string;
  readonly port: number;
};

type RawAgent = {
  readonly metadata: {
    readonly name: string;
    readonly deletionTimestamp?: string;
    readonly ownerReferences?: readonly { readonly kind: string; readonly controller?: boolean }[];
  };
  readonly spec: {
    readonly nodeName?: string;
    readonly affinity?: unknown;
    readonly containers: readonly {
      readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
    }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly message?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
    readonly containerStatuses?: readonly {
      readonly state?: {
        readonly waiting?: { readonly reason?: string; readonly message?: string };
        readonly terminated?: { readonly reason?: string; readonly message?: string };
      };
    }[];
  };
};

const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`;

/** The agents' pods, those that are about to go not among them; a DaemonSet's pod that waits for its node has its name. */
export async function listAgents(api: Api): Promise<readonly AgentPod[]> {
  const { items } = await api.list<RawAgent, RawAgent>(PODS, { labelSelector: AGENT_SELECTOR }, (pod) => pod);
  return items
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined && isOfDaemonSet(metadata))
    .map(agentOf);
}

function agentOf({ metadata, spec, status }: RawAgent): AgentPod {
  const [container] = spec.containers;
  const { waiting, terminated } = status?.containerStatuses?.[0]?.state ?? {};
  const stopped = waiting ?? terminated;
  const unscheduled = status?.conditions?.find(
    ({ type, status: held }) => type === 'PodScheduled' && held === 'False',
  );
  return {
    name: metadata.name,
    node: spec.nodeName ?? wantedNode(spec.affinity),
    ready: status?.conditions?.some(({ type, status: held }) => type === 'Ready' && held === 'True') ?? false,
    state: (stopped?.reason ?? status?.phase ?? 'Unknown').slice(0, MAX_WORD),
    message: stopped?.message ?? unscheduled?.message ?? status?.message ?? '',
    port: container?.ports?.find(({ name }) => name === 'metrics')?.containerPort ?? AGENT_PORT,
  };
}

/**
 * The node that a DaemonSet's pod is made for: until it is scheduled only its affinity says so.
 * Source: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#how-daemon-pods-are-scheduled
 */
function wantedNode(affinity: unknown): string {
  const found = /"key":"metadata\.name","operator":"In","values":\["([^"]+)"\]/.exec(
    JSON.stringify(affinity) ?? '',
  );
  return found?.[1] ?? '';
}

/** What an agent told of its node, or why it did not. */
export type Reported = { readonly status: Status } | { readonly why: string; readonly forbidden?: true };

/** What is shown for every agent if the user may not list agents. */
export const HIDDEN: Reported = { why: `you may not list the pods of ${NAMESPACE}` };

const REPORT_MS = 10_000;
const AT_ONCE = 16;
/** What is shown of an answer that is no report. */
const LONGEST_TEXT = 300;

/** The ways to an agent, with the rights that each needs. */
const WAYS = {
  /** Connects inside the pod's own network, so the agent names pods and no NetworkPolicy blocks it. */
  portforward: 'the verbs get and create on pods/portforward',
  /** Works while containerd hangs, which carries port-forwards. */
  proxy: 'the verb get on pods/proxy',
} as const;
type Way = keyof typeof WAYS;

/** The response of an agent. */
function askAgent(api: Api, { name, port }: AgentPod, path: string, way: Way): Promise<Answer> {
  return way === 'proxy'
    ? api.ask(`${PODS}/${name}:${port}/proxy${path}`, REPORT_MS)
    : api.askPod(`${PODS}/${name}`, port, path, REPORT_MS);
}

/** Asks an agent for its report with the pods of its node. */
export async function readReport(api: Api, agent: AgentPod, way: Way = 'portforward'): Promise<Reported> {
  try {
    const { code, text } = await askAgent(api, agent, '/report', way);
    if (code === 200) return toldOf(sanitizeValues(JSON.parse(text)), agent);
    return untold(code, sanitize(text).trim(), way);
  } catch (error) {
    const why = sanitize(errorLine(error)).slice(0, LONGEST_TEXT);
    return { why: `the agent on ${agent.node} gave no report: ${why}` };
  }
}

/** Like {@link readReport}; falls back to pods/proxy, which gives no pods. */
export async function readNodeReport(api: Api, agent: AgentPod): Promise<Reported> {
  const first = await readReport(api, agent);
  if ('status' in first) return first;
  const second = await readReport(api, agent, 'proxy');
  return 'status' in second || (first.forbidden && !second.forbidden) ? second : first;
}

function toldOf(status: unknown, { node }: AgentPod): Reported {
  if (!isReport(status)) return { why: `what the agent on ${node} tells is no report` };
  if (status.node === node) return { status };
  return { why: `the agent on ${node} speaks for another node, "${status.node.slice(0, LONGEST_TEXT)}"` };
}

/** The API server says with an object of its own why it could not ask; another text is the agent's. */
function untold(code: number, text: string, way: Way): Reported {
  const message = /^\{.*"kind": ?"Status"/.test(text)
    ? (JSON.parse(text) as { message?: unknown }).message
    : undefined;
  if (code === 403)
    return {
      forbidden: true,
      why: `you may not ask agents: that needs ${WAYS[way]} in the namespace ${NAMESPACE}`,
    };
  if (typeof message === 'string')
    return { why: `the API server does not reach the agent: ${message.slice(0, LONGEST_TEXT)}` };
  const words = text.slice(0, LONGEST_TEXT);
  return { why: code === 503 ? words : `the agent answers ${code}: ${words}` };
}

/**
 * What the agents of many nodes told, by node. The API server hands on an agent's or kubelet's own 403, even one in the API
 * server's words: the user may not ask agents only where every answer is one.
 */
export async function readReports(
  api: Api,
  agents: readonly AgentPod[],
): Promise<ReadonlyMap<string, Reported>> {
  const all = await pooledMap(agents, AT_ONCE, async (agent) => ({
    node: agent.node,
    told: await readReport(api, agent),
  }));
  const isRefused = (told: Reported) => 'why' in told && told.forbidden === true;
  const own = all.some(({ told }) => !isRefused(told));
  return new Map(
    all.map(({ node, told }) => [
      node,
      own && isRefused(told) ? { why: `the agent on ${node} answers 403, and others do not` } : told,
    ]),
  );
}

/** Why an agent's pod is not Ready, in its own words; "" when it does not say. */
export async function readUnready(api: Api, agent: AgentPod): Promise<string> {
  for (const way of ['portforward', 'proxy'] as const) {
    const answer = await askAgent(api, agent, '/readyz', way).catch(() => undefined);
    if (answer?.code === 503 && !answer.text.startsWith('{'))
      return sanitize(answer.text).trim().slice(0, LONGEST_TEXT);
  }
  return '';
}

/** The value, or undefined where there is no such object, or where one may not look. */
export async function orAbsent<T>(
  promise: Promise<T>,
  codes: readonly number[] = [404],
): Promise<T | undefined> {
  return promise.catch((error: unknown) => {
    if (error instanceof KubeError && codes.includes(error.status)) return undefined;
    throw error;
  });
}
