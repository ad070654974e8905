import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { pooledMap } from '../../lib/base/async.ts';
import { errorLine, sanitizeLine } from '../../lib/base/sanitize.ts';
import {
  type AgentPod,
  agentPodOf,
  agentSettingsOf,
  controllerOf,
  MAX_NAME_LENGTH,
  targetOf,
} from '../../lib/fleet/objects.ts';
import { AGENT_PORT, AGENT_SELECTOR, DAEMON_SET } from '../../lib/kube/access.ts';
import { isOpen } from '../../lib/pods/pod.ts';
import type { HandlerReport, Status } from '../../lib/report/report.ts';
import { isStatus } from '../../lib/report/schema.ts';
import { type Api, type ApiObject, optional, sanitizeValues } from '../api/api.ts';
import type { TextResponse } from '../api/port-forward.ts';

export const podsPath = ({ installedIn }: Api) => `/api/v1/namespaces/${installedIn}/pods`;

export function readDaemonSet(api: Api): Promise<ApiObject<V1DaemonSet> | undefined> {
  return optional(api.get(`/apis/apps/v1/namespaces/${api.installedIn}/daemonsets/${DAEMON_SET}`));
}

/** The name that a kustomization gave the agents' DaemonSet; undefined if it has its own, or no pod. */
export async function renamedDaemonSet(api: Api): Promise<string | undefined> {
  const pods = await api.list<V1Pod>(podsPath(api), { labelSelector: AGENT_SELECTOR });
  const owners = pods.map(({ metadata }) => controllerOf(metadata));
  return owners.find((owner) => owner?.kind === 'DaemonSet' && owner.name !== DAEMON_SET)?.name;
}

/** The main handler first. */
export function handlersToProve(
  daemonSet: ApiObject<V1DaemonSet> | undefined,
): readonly [string, ...string[]] {
  return agentSettingsOf(daemonSet).handlers;
}

export type AgentSummary = AgentPod & ReturnType<typeof summarizeAgent>;

/** Without those being deleted. */
export async function listAgents(api: Api): Promise<readonly AgentSummary[]> {
  return (await listAgentPods(api)).filter(({ ending }) => !ending);
}

/** Of an agent in any state, even one being deleted. */
export async function nodesWithAgents(api: Api): Promise<ReadonlySet<string>> {
  return new Set((await listAgentPods(api)).map(({ node }) => node));
}

async function listAgentPods(api: Api): Promise<readonly AgentSummary[]> {
  const pods = await api.list<V1Pod>(podsPath(api), { labelSelector: AGENT_SELECTOR });
  return pods.flatMap((pod) => {
    const agent = agentPodOf(pod as unknown as V1Pod);
    return agent === undefined ? [] : [{ ...agent, ...summarizeAgent(pod) }];
  });
}

function summarizeAgent({ metadata, spec, status }: ApiObject<V1Pod>) {
  const { waiting, terminated } = status?.containerStatuses?.[0]?.state ?? {};
  const stopped = waiting ?? terminated;
  const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  const ports = spec?.containers[0]?.ports;
  return {
    /** Even before it is scheduled. */
    node: targetOf(spec as unknown as V1Pod['spec']),
    ending: metadata.deletionTimestamp !== undefined,
    /** As kubectl shows it: Running, Pending, ImagePullBackOff ... */
    state: (stopped?.reason ?? status?.phase ?? 'Unknown').slice(0, MAX_NAME_LENGTH),
    /** From the kubelet or the scheduler; "" if it runs. */
    message: stopped?.message ?? (scheduled?.status === 'False' ? scheduled.message : status?.message) ?? '',
    port: ports?.find(({ name }) => name === 'metrics')?.containerPort ?? AGENT_PORT,
  };
}

/** `forbidden` if the user lacks a permission. */
export type ReportResult =
  | { readonly report: Status; readonly problem?: never; readonly forbidden?: never }
  | { readonly report?: never; readonly problem: string; readonly forbidden?: true };

export function handlerIn(result: ReportResult | undefined, handler: string): HandlerReport | undefined {
  return result?.report?.handlers?.find((each) => each.handler === handler);
}

/** For a user who may not list the agents' pods. */
export const hiddenReport = ({ installedIn }: Api): ReportResult => ({
  forbidden: true,
  problem: `you may not list the pods of ${installedIn}`,
});

const LIMITS = { maxMs: 10_000, maxBytes: 4 * 2 ** 20 };
const CONCURRENCY = 16;
/** What the API server sends if it refuses, or cannot reach the agent; any other text is the agent's. */
const STATUS_OBJECT = /^\s*\{.*"kind": ?"Status"/s;
/** The longest text shown of an agent's response. */
const MAX_TEXT = 300;

export function reportsNeed({ installedIn }: Api): string {
  return `you may not read the agents' reports: that needs the verbs get and create on pods/portforward in the namespace ${installedIn}`;
}

/**
 * From inside the pod's network, where no NetworkPolicy applies. A containerd that hangs serves no port-forward; then
 * through the API server's proxy.
 */
async function request(api: Api, { name, port }: AgentSummary, path: string): Promise<TextResponse> {
  const pod = `${podsPath(api)}/${name}`;
  const [forwarded] = await Promise.allSettled([api.getFromPod(pod, port, path, LIMITS)]);
  const isAnswer = ({ code, text }: TextResponse) => code === 403 || !STATUS_OBJECT.test(text);
  if (forwarded.status === 'fulfilled' && isAnswer(forwarded.value)) return forwarded.value;
  const proxied = await api.getThroughProxy(pod, port, path, LIMITS).catch(() => undefined);
  if (proxied !== undefined && isAnswer(proxied)) return proxied;
  if (forwarded.status === 'rejected') throw forwarded.reason;
  return forwarded.value;
}

export async function readReport(api: Api, agent: AgentSummary): Promise<ReportResult> {
  try {
    const { code, text } = await request(api, agent, '/report');
    if (code === 200) return parseReport(sanitizeValues(JSON.parse(text)), agent);
    if (code === 403) return { forbidden: true, problem: reportsNeed(api) };
    return failureOf(code, sanitizeLine(text).trim());
  } catch (error) {
    const cause = sanitizeLine(errorLine(error)).slice(0, MAX_TEXT);
    return { problem: `the agent on ${agent.node} sent no report: ${cause}` };
  }
}

function parseReport(report: unknown, { node }: AgentSummary): ReportResult {
  if (!isStatus(report)) return { problem: `the response of the agent on ${node} is not a report` };
  if (report.node === node) return { report };
  return { problem: `the agent on ${node} reports another node, "${report.node.slice(0, MAX_TEXT)}"` };
}

function failureOf(code: number, text: string): ReportResult {
  const message = STATUS_OBJECT.test(text) ? (JSON.parse(text) as { message?: unknown }).message : undefined;
  if (typeof message === 'string')
    return { problem: `the API server does not reach the agent: ${message.slice(0, MAX_TEXT)}` };
  const words = text.slice(0, MAX_TEXT);
  return { problem: code === 503 ? words : `the agent answers ${code}: ${words}` };
}

/**
 * By node. The API server passes on an agent's or kubelet's own 403, so the user lacks the permission only if
 * every response is a 403.
 */
export async function readReports(
  api: Api,
  agents: readonly AgentSummary[],
): Promise<ReadonlyMap<string, ReportResult>> {
  const read = async (agent: AgentSummary) => [agent.node, await readReport(api, agent)] as const;
  const results = await pooledMap(agents, CONCURRENCY, read);
  if (results.every(([, { forbidden }]) => forbidden)) return new Map(results);
  return new Map(
    results.map(([node, result]) => {
      const problem = `the agent on ${node} answers 403, and others do not`;
      return [node, result.forbidden ? { problem } : result];
    }),
  );
}

/** From /readyz; "" if the agent does not say. */
export async function readUnreadyReason(api: Api, agent: AgentSummary): Promise<string> {
  const { code, text } = await request(api, agent, '/readyz').catch(() => ({ code: 0, text: '' }));
  return code === 503 && !text.startsWith('{') ? sanitizeLine(text).trim().slice(0, MAX_TEXT) : '';
}

/** According to the node's agent. `open` is a gVisor sandbox with a way out to the host. */
export type GvisorState = {
  readonly inGvisor: 'yes' | 'open' | 'no' | '?';
  /** Why that is the state, as a code. */
  readonly reason: keyof typeof STATE_REASONS;
  readonly evidence: string;
};

/** The codes of {@link GvisorState}, with their meanings. */
const STATE_REASONS = {
  ProcessIsGvisor: 'yes',
  FlagOpensSandbox: 'open',
  ProcessIsNotGvisor: 'no',
  NoAgent: '?',
  NoReport: '?',
  NotPermitted: '?',
  PodsNotRead: '?',
  PodsStale: '?',
  PodNotSeen: '?',
} as const;

function stateOf(reason: keyof typeof STATE_REASONS, evidence: string): GvisorState {
  return { inGvisor: STATE_REASONS[reason], reason, evidence };
}

/**
 * The runtime knows a static pod by the uid in this annotation. Any pod may forge it, so it never proves
 * gVisor.
 */
export function uidsOf({ metadata }: ApiObject<V1Pod>): readonly (string | undefined)[] {
  return [metadata.uid, metadata.annotations?.['kubernetes.io/config.hash']];
}

/** Undefined without an agent on the pod's node. */
export function sandboxOf(pod: ApiObject<V1Pod>, result: ReportResult | undefined): GvisorState {
  if (result === undefined) return stateOf('NoAgent', 'no agent runs on its node');
  if (result.report === undefined)
    return stateOf(result.forbidden ? 'NotPermitted' : 'NoReport', result.problem);
  const { pods } = result.report;
  if (pods === undefined) return stateOf('PodsNotRead', 'the agent has not read the pods of its node');
  if (pods.stale) return stateOf('PodsStale', `the agent last read the pods of its node at ${pods.at}`);
  const uids = uidsOf(pod);
  const weakened = pods.weakened.find(({ uid }) => uids.includes(uid));
  if (weakened !== undefined)
    return stateOf(isOpen(weakened) ? 'FlagOpensSandbox' : 'ProcessIsGvisor', weakened.evidence);
  if (pods.sandboxedUids.includes(pod.metadata.uid))
    return stateOf('ProcessIsGvisor', "its first process on the node is gVisor's");
  const outside = [...pods.violating, ...pods.permitted].find(({ uid }) => uids.includes(uid));
  if (outside !== undefined) return stateOf('ProcessIsNotGvisor', outside.evidence);
  const unknown = pods.unknown.find(({ uid }) => uids.includes(uid));
  return stateOf('PodNotSeen', unknown?.evidence ?? 'the agent has not seen it yet');
}
