import type { Duplex } from 'node:stream';
import type { V1Deployment, V1Node, V1Pod } from '@kubernetes/client-node';
import { type AgentStatus, agentStatusOf } from '../../lib/fleet/agent-status.ts';
import {
  controllerOf,
  type FleetNode,
  fleetNodeOf,
  isPodReady,
  MAX_NAME_LENGTH,
  versionOf,
} from '../../lib/fleet/objects.ts';
import { NO_TURNS } from '../../lib/fleet/turns.ts';
import { isJudgedFleet, type JudgedFleet, viewFleet } from '../../lib/fleet/view.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { podCounts } from '../../lib/pods/pod.ts';
import { type Api, type ApiObject, optional, sanitizeValues, UnreachableError } from '../api/api.ts';
import { listAgents, podsPath, readReports, reportsNeed } from './agent-reports.ts';

const FLEET_DEPLOYMENT = 'gvisor-ready-fleet';

const FLEET_SELECTOR = 'app.kubernetes.io/name=gvisor-ready,app.kubernetes.io/component=fleet';

export const FLEET_PORT = 9478;

/** A view of 5,000 nodes has some 4 MB, twice that if all are broken. */
const LIMITS = { maxMs: 10_000, maxBytes: 32 * 2 ** 20 };

/** "absent", or undefined if the user may not read it. */
export function readDeployment(api: Api): Promise<ApiObject<V1Deployment> | 'absent' | undefined> {
  const path = `/apis/apps/v1/namespaces/${api.installedIn}/deployments/${FLEET_DEPLOYMENT}`;
  const found = optional(api.get<ApiObject<V1Deployment>>(path)).then((each) => each ?? ('absent' as const));
  return optional(found, [403]);
}

export function replicasOf({ spec, status }: ApiObject<V1Deployment>) {
  return {
    desired: spec?.replicas ?? 1,
    ready: status?.readyReplicas ?? 0,
    version: versionOf(spec?.template.spec?.containers[0]?.image).slice(0, MAX_NAME_LENGTH),
  };
}

/** Rejects if that is refused or no pod is Ready. */
export async function connectToFleet(api: Api): Promise<Duplex> {
  const pod = await findPod(api);
  if (pod !== undefined) return api.connectToPod(pod, FLEET_PORT);
  throw new Error(
    `The fleet controller has no Ready pod in ${api.installedIn}: see kubectl gvisor-ready status`,
  );
}

/** Undefined if no pod is Ready. */
async function findPod(api: Api): Promise<string | undefined> {
  const pods = podsPath(api);
  const found = await api.list<V1Pod>(pods, { labelSelector: FLEET_SELECTOR });
  const pod = found.find(isReadyReplica);
  return pod && `${pods}/${pod.metadata.name}`;
}

/**
 * Undefined if the controller does not respond, "hidden" without permission, "foreign" if it is of another
 * version. Rejects if the API server does not respond.
 */
export async function readView(api: Api): Promise<JudgedFleet | 'hidden' | 'foreign' | undefined> {
  try {
    const pod = await findPod(api);
    if (pod === undefined) return undefined;
    const { code, text } = await api.getFromPod(pod, FLEET_PORT, '/fleet', LIMITS);
    if (code === 403) return 'hidden';
    if (code !== 200) return undefined;
    const view: unknown = sanitizeValues(JSON.parse(text));
    return isJudgedFleet(view) ? view : 'foreign';
  } catch (error) {
    if (error instanceof UnreachableError) throw error;
    return error instanceof KubeError && error.status === 403 ? 'hidden' : undefined;
  }
}

/** `problem`: why no report could be read; "" if some were. */
export type ReadFleet = { readonly fleet: JudgedFleet; readonly problem: string };

/**
 * From Nodes and reports if the controller does not respond or has a watch down, or if a label selector is
 * given.
 */
export async function readFleet(
  api: Api,
  view: Awaited<ReturnType<typeof readView>>,
  selector: string | undefined,
): Promise<ReadFleet> {
  if (selector === undefined && typeof view === 'object' && view.upToDate)
    return { fleet: view, problem: '' };
  const pick = (node: ApiObject<V1Node>) => fleetNodeOf(node as unknown as V1Node);
  const [nodes, pods] = await Promise.all([
    api.list<V1Node, FleetNode>('/api/v1/nodes', { labelSelector: selector }, pick),
    optional(listAgents(api), [403]),
  ]);
  const names = new Set(nodes.map(({ name }) => name));
  // A user who may not reach the controller's port may not reach the agents' either.
  const agents = view === 'hidden' ? [] : (pods ?? []).filter(({ node }) => names.has(node));
  const results = await readReports(
    api,
    agents.filter(({ state }) => state === 'Running'),
  );
  const statuses = new Map<string, AgentStatus>();
  for (const [node, { report }] of results)
    if (report !== undefined) {
      const counted = { podCounts: podCounts(report.pods), ...report };
      statuses.set(node, { ...agentStatusOf(counted, node), readMs: 0 });
    }
  const [first] = results.values();
  const isForbidden = view === 'hidden' || first?.forbidden === true;
  const fleet = viewFleet({
    upToDate: true,
    reportIntervalMs: 0,
    lateMs: 0,
    silentMs: 0,
    nowMs: 0,
    nodes,
    agents: undefined,
    guards: undefined,
    rolling: false,
    breaker: [],
    paused: [],
    damped: [],
    failedWrites: new Map(),
    turns: NO_TURNS,
    failingCanaries: [],
    egress: undefined,
    pods,
    statusOf: (node) => statuses.get(node),
  });
  return { fleet, problem: isForbidden ? reportsNeed(api) : '' };
}

function isReadyReplica({ metadata, status }: ApiObject<V1Pod>): boolean {
  return controllerOf(metadata)?.kind === 'ReplicaSet' && isPodReady(status);
}
