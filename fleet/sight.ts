import type { V1DaemonSet, V1Node, V1Pod } from '@kubernetes/client-node';
import { AGENT_SELECTOR, DAEMON_SET, NAMESPACE } from '../agent/installed.ts';
import { type AgentPod, type AgentSet, agentPodOf, agentSetOf } from './agents.ts';
import { Informer, type Reach } from './informer.ts';
import { type FleetNode, fleetNodeOf } from './node.ts';
import type { Seen } from './seen.ts';

/** What three informers report about Nodes, the agents' pods, and their DaemonSet. */
export class Sight {
  readonly #nodes: Informer<V1Node, FleetNode>;
  readonly #pods: Informer<V1Pod, AgentPod>;
  readonly #sets: Informer<V1DaemonSet, AgentSet>;
  /** Nodes on which an agent was Ready since it was asked last. */
  readonly #served = new Set<string>();

  /** `onNode` is called for each Node that came or changed. */
  constructor(reach: Reach, onNode: (node: FleetNode) => void) {
    const path = `/namespaces/${NAMESPACE}`;
    this.#nodes = new Informer({ path: '/api/v1/nodes', keep: fleetNodeOf, heard: onNode }, reach);
    const heard = ({ ready, node }: AgentPod) => {
      if (ready) this.serve(node);
    };
    this.#pods = new Informer(
      { path: `/api/v1${path}/pods`, labelSelector: AGENT_SELECTOR, keep: agentPodOf, heard },
      reach,
    );
    this.#sets = new Informer(
      {
        path: `/apis/apps/v1${path}/daemonsets`,
        fieldSelector: `metadata.name=${DAEMON_SET}`,
        keep: agentSetOf,
      },
      reach,
    );
  }

  get nodes(): readonly FleetNode[] {
    return this.#nodes.list();
  }

  get pods(): readonly AgentPod[] {
    return this.#pods.list();
  }

  get agents(): AgentSet | undefined {
    return this.#sets.list()[0];
  }

  /** Since when all three watches stand without a break, monotonic; undefined while one does not. */
  get followedSinceMs(): number | undefined {
    const since = [this.#nodes.sinceMs, this.#pods.sinceMs, this.#sets.sinceMs];
    return since.reduce((late, one) =>
      late === undefined || one === undefined ? undefined : Math.max(late, one),
    );
  }

  /** Takes a node for one on which an agent was Ready just now. */
  serve(node: string): void {
    this.#served.add(node);
  }

  /** All that is known for a decision, with what was seen since the last one. */
  take(withdrawn: Seen['withdrawn']): Seen {
    const { nodes, pods, agents, followedSinceMs } = this;
    for (const { ready, node } of pods) if (ready) this.serve(node);
    const served = new Set(this.#served);
    this.#served.clear();
    return {
      nodes,
      pods,
      ...(agents === undefined ? {} : { agents }),
      served,
      ...(followedSinceMs === undefined ? {} : { followedSinceMs }),
      withdrawn,
    };
  }

  /** Follows until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#nodes.run(signal), this.#pods.run(signal), this.#sets.run(signal)]);
  }
}
