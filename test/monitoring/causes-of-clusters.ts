import { agent, always, dyingAt, kube, notReady, type Series, WITHDRAWN } from './fleet.ts';

/** What goes wrong (or does not) with a fleet, and every alert that fires because of it, as `alert cluster node`. */
export type Cause = { readonly cause: string; readonly series: Series; readonly fires: readonly string[] };

/** Series of several nodes as one. */
export const all = (...parts: readonly Series[]): Series => Object.assign({}, ...parts);
/** The labels of a node. */
export const node = (number: number, cluster?: string) =>
  `${cluster === undefined ? '' : `cluster="${cluster}", `}node="node-${number}"`;
/** A node on which all is well. */
export const well = (labels: string): Series => ({ ...agent(labels), ...kube(labels) });
/** What an agent says of a pod outside of gVisor. */
export const OUTSIDE = { gvisor_unsandboxed_pods: always(1) };
const MANY = [1, 2, 3, 4, 5, 6];

/** Those of several clusters, or several replicas of Prometheus, in one backend. */
export const CAUSES_OF_CLUSTERS: readonly Cause[] = [
  {
    cause: 'gVisor breaks on one of six nodes of cluster a; cluster b has nodes of the same names',
    series: all(
      ...MANY.flatMap((i) => [well(node(i, 'b')), i === 1 ? {} : well(node(i, 'a'))]),
      agent(node(1, 'a'), notReady('ShimNotFound')),
      kube(node(1, 'a'), WITHDRAWN),
    ),
    fires: ['GVisorNodeNotReady a node-1'],
  },
  {
    cause: 'No agent of cluster a answers; cluster b has nodes of the same names',
    series: all(
      ...[1, 2].flatMap((i) => [well(node(i, 'b')), dyingAt(5, agent(node(i, 'a'))), kube(node(i, 'a'))]),
    ),
    fires: ['GVisorAgentsMissing a'],
  },
  {
    cause: 'gVisor breaks on every node of cluster a, on none of cluster b',
    series: all(
      well(node(1, 'b')),
      agent(node(1, 'a'), notReady('ShimNotFound')),
      kube(node(1, 'a'), WITHDRAWN),
    ),
    fires: ['GVisorNoNodeReady a', 'GVisorNodeNotReady a node-1'],
  },
  {
    cause: 'A pod runs outside of gVisor, and two replicas of Prometheus write to one backend',
    series: all(
      ...[0, 1].map((replica) => agent(`${node(1)}, replica="${replica}"`, OUTSIDE)),
      kube(node(1)),
      well(node(2)),
    ),
    fires: ['GVisorUnsandboxedPods node-1'],
  },
];
