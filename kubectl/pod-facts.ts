import { listAgents, orAbsent, readReport, type Told } from './agents.ts';
import type { Api } from './api.ts';
import { listNodes, type NodeView } from './node-view.ts';
import { listClasses, listRequirements, type RawPod, type RuntimeClass } from './pod-view.ts';

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
