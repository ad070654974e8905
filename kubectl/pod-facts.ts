import { HIDDEN, listAgents, orAbsent, type Reported, readReport } from './agents.ts';
import type { Api } from './api.ts';
import { REQUIRE } from './known.ts';
import { listNodes, type NodeView } from './node-view.ts';
import { CLASSES, type RawNamespace, type RawPod, type RuntimeClass } from './pod-view.ts';

/** All that is known of a pod. What one may not read is undefined. */
export type PodFacts = {
  readonly pod: RawPod;
  /** Undefined where it names none; "?" where there is none of that name, or none to be seen. */
  readonly runtimeClass: RuntimeClass | '?' | undefined;
  /** Whether its namespace is labelled require-gvisor=true. */
  readonly required: boolean | undefined;
  readonly nodes: readonly NodeView[] | undefined;
  readonly told: Reported | undefined;
  /** Its warnings, the newest first. */
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

/** Reads all that may say why a pod is as it is. */
export async function readPodFacts(api: Api, pod: RawPod): Promise<PodFacts> {
  const { namespace, uid } = pod.metadata;
  const { runtimeClassName = '', nodeName = '' } = pod.spec;
  const [found, owner, nodes, agents, warnings] = await Promise.all([
    runtimeClassName === ''
      ? undefined
      : orAbsent(api.get<RuntimeClass>(`${CLASSES}/${runtimeClassName}`), [403, 404]),
    orAbsent(api.get<RawNamespace>(`/api/v1/namespaces/${namespace}`), [403, 404]),
    orAbsent(listNodes(api), [403]),
    orAbsent(listAgents(api), [403]),
    orAbsent(readWarnings(api, namespace, `involvedObject.uid=${uid}`), [403]),
  ]);
  const agent = agents?.find(({ node, state }) => node === nodeName && state === 'Running');
  return {
    pod,
    runtimeClass: runtimeClassName === '' ? undefined : (found ?? '?'),
    required: owner === undefined ? undefined : owner.metadata.labels?.[REQUIRE] === 'true',
    nodes,
    told: agents === undefined ? HIDDEN : agent === undefined ? undefined : await readReport(api, agent),
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
