import {
  agent,
  always,
  type Changes,
  CURRENT_AGENTS,
  controller,
  DESIRED_AGENTS,
  endingAt,
  failingAt,
  kube,
  MINUTES,
  NODE_READY,
  nodeWithoutGvisor,
  notReady,
  POD_INFO,
  type Series,
  WITHDRAWN,
} from './fleet.ts';

/**
 * A root cause with its series, and all alerts that fire because of it, as `alert cluster node`: with kube-state-metrics, and
 * without it if others fire then.
 */
export type Cause = {
  readonly cause: string;
  readonly series: Series;
  readonly fires: readonly string[];
  readonly withoutKube?: readonly string[];
};

const merged = (...parts: readonly Series[]): Series => Object.assign({}, ...parts);
const node = (number: number, cluster?: string) =>
  `${cluster === undefined ? '' : `cluster="${cluster}", `}node="node-${number}"`;
const healthy = (labels: string): Series => ({ ...agent(labels), ...kube(labels) });
/** A node whose agent stops answering. */
const silent = (labels: string): Series => ({ ...failingAt(5, agent(labels)), ...kube(labels) });
/** A fleet controller with its changes. */
const fleet = (changes: Changes = {}): Series => controller('', changes);
export const FLEET = fleet();
/** The fleet controllers of two clusters. */
const CONTROLLERS = { ...controller('cluster="a"'), ...controller('cluster="b"') };
/** An agent's metric for a pod outside gVisor. */
export const OUTSIDE = { gvisor_ready_unsandboxed_pods: always(1) };
/** Causes with several clusters, or several replicas of Prometheus, in one backend. */
const MULTI_CLUSTER_CAUSES: readonly Cause[] = [
  {
    cause: 'gVisor breaks on one of six nodes of cluster a; cluster b has nodes of the same names',
    series: merged(
      ...[1, 2, 3, 4, 5, 6].flatMap((i) => [healthy(node(i, 'b')), i === 1 ? {} : healthy(node(i, 'a'))]),
      agent(node(1, 'a'), notReady('ShimNotFound')),
      kube(node(1, 'a'), WITHDRAWN),
      CONTROLLERS,
    ),
    fires: ['GVisorNodeNotReady a node-1'],
  },
  {
    cause: 'No agent of cluster a answers; cluster b has nodes of the same names',
    series: merged(...[1, 2].flatMap((i) => [healthy(node(i, 'b')), silent(node(i, 'a'))]), CONTROLLERS),
    fires: ['GVisorAgentsMissing a'],
  },
  {
    cause: 'gVisor breaks on every node of cluster a, on none of cluster b',
    series: merged(
      healthy(node(1, 'b')),
      agent(node(1, 'a'), notReady('ShimNotFound')),
      kube(node(1, 'a'), WITHDRAWN),
      CONTROLLERS,
    ),
    fires: ['GVisorNoNodeReady a', 'GVisorNodeNotReady a node-1'],
  },
  {
    cause: 'A pod runs outside of gVisor, and two replicas of Prometheus write to one backend',
    series: merged(
      ...[0, 1].map((replica) => agent(`${node(1)}, replica="${replica}"`, OUTSIDE)),
      kube(node(1)),
      healthy(node(2)),
      FLEET,
    ),
    fires: ['GVisorUnsandboxedPods node-1'],
  },
];

/** The number of agents that the DaemonSet wants, and has. */
const agentCounts = (values: string): Series => ({ [DESIRED_AGENTS]: values, [CURRENT_AGENTS]: values });
const agentCount = (count: number) => agentCounts(always(count));

/** Two healthy nodes, and a control plane without gVisor. */
export const OTHERS = merged(
  healthy(node(2)),
  healthy(node(3)),
  nodeWithoutGvisor('node="control-plane"'),
  agentCount(4),
  FLEET,
);
const HANGING = {
  gvisor_ready_pods_last_seen_timestamp_seconds: '0+60x4 240x60',
  ...notReady('CheckTimedOut'),
};
const hanging = (reason: string) => ({ [`gvisor_ready_sandbox_problems{reason="${reason}"}`]: always(1) });
const POD = 'namespace="eval", pod="x", uid="x"';
/** A gVisor pod that should have ended long ago. */
const STUCK = {
  [`kube_pod_info{${POD}}`]: always(1),
  [`kube_pod_deletion_timestamp{${POD}}`]: always(60),
  [`kube_pod_runtimeclass_name_info{${POD}, runtimeclass_name="gvisor"}`]: always(1),
  [`kube_pod_status_phase{${POD}, phase="Running"}`]: always(1),
};
/** The changes in an agent's metrics when an additional handler does not work. */
const BROKEN_HANDLER = {
  'gvisor_ready_handler_status{handler="runsc-kvm", status="True"}': `1x4 0x${MINUTES}`,
  'gvisor_ready_handler_reason{handler="runsc-kvm", reason="ShimNotFound"}': `_x4 1x${MINUTES}`,
  'gvisor_ready_handler_expected{handler="runsc-kvm"}': always(1),
};
const OPEN = (reason: string) => `gvisor_ready_fleet_circuit_breaker_open{reason="${reason}"}`;

/** One root cause each. A cause fires at most one critical alert. */
export const CAUSES: readonly Cause[] = [
  {
    cause: 'Nothing is wrong; the control plane has no gVisor',
    series: merged(healthy(node(1)), OTHERS),
    fires: [],
  },
  {
    cause: 'gVisor breaks on one node of three',
    series: merged(agent(node(1), notReady('ShimNotFound')), kube(node(1), WITHDRAWN), OTHERS),
    fires: ['GVisorNodeNotReady node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'An additional handler breaks on one node, and is missing on another',
    series: merged(
      agent(node(1), BROKEN_HANDLER),
      kube(node(1)),
      OTHERS,
      agent(node(2), { ...BROKEN_HANDLER, 'gvisor_ready_handler_expected{handler="runsc-kvm"}': always(0) }),
    ),
    fires: ['GVisorHandlerNotReady node-1'],
  },
  {
    cause: 'Both handlers break on one node of three',
    series: merged(
      agent(node(1), { ...notReady('ShimNotFound'), ...BROKEN_HANDLER }),
      kube(node(1), WITHDRAWN),
      OTHERS,
    ),
    fires: ['GVisorNodeNotReady node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'gVisor breaks on every node',
    series: merged(
      ...[1, 2, 3].flatMap((i) => [agent(node(i), notReady('RunscNotFound')), kube(node(i), WITHDRAWN)]),
      nodeWithoutGvisor('node="control-plane"'),
      agentCount(4),
      FLEET,
    ),
    fires: ['GVisorNoNodeReady', ...[1, 2, 3].map((i) => `GVisorNodeNotReady node-${i}`)],
  },
  {
    cause: 'containerd hangs on one node of three',
    series: merged(agent(node(1), HANGING), kube(node(1), WITHDRAWN), OTHERS),
    fires: ['GVisorNodeNotReady node-1', 'GVisorPodsUnseen node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'gVisor breaks on one node, whose agent may not write',
    series: merged(agent(node(1), notReady('ShimNotFound')), kube(node(1)), OTHERS),
    fires: ['GVisorLabelOutdated node-1', 'GVisorNodeNotReady node-1', 'GVisorReadyShareLow'],
  },
  {
    cause:
      'gVisor breaks on one node, whose agent reaches no API server, and neither does the fleet controller',
    series: merged(
      agent(node(1), notReady('ShimNotFound')),
      kube(node(1)),
      OTHERS,
      fleet({ gvisor_ready_fleet_watches_up: `1x3 0x${MINUTES}` }),
    ),
    fires: [
      'GVisorFleetUnseen',
      'GVisorLabelOutdated node-1',
      'GVisorNodeNotReady node-1',
      'GVisorReadyShareLow',
    ],
  },
  {
    cause:
      'The fleet controller reaches no API server, and gVisor breaks on one node, whose agent writes that',
    series: merged(
      agent(node(1), {
        ...notReady('ShimNotFound'),
        'gvisor_ready_api_requests_total{verb="PATCH", code="200"}': `_x4 1x${MINUTES}`,
      }),
      kube(node(1), { ...WITHDRAWN, gvisor_ready_fleet_node_labelled: always(1) }),
      OTHERS,
      fleet({ gvisor_ready_fleet_watches_up: `1x3 0x${MINUTES}` }),
    ),
    fires: ['GVisorFleetUnseen', 'GVisorNodeNotReady node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'The shim of a pod on one node does not answer, and the pod stays Terminating',
    series: merged(agent(node(1), hanging('ShimUnresponsive')), kube(node(1), STUCK), OTHERS),
    fires: ['GVisorSandboxesHang node-1'],
  },
  {
    cause: 'Sandboxes on one node of three do not end, and neither do those of the proof',
    series: merged(
      agent(node(1), { ...hanging('ShimLingers'), ...notReady('SandboxStuck') }),
      kube(node(1), WITHDRAWN),
      OTHERS,
    ),
    fires: ['GVisorReadyShareLow', 'GVisorSandboxesHang node-1'],
  },
  {
    cause: 'A pod stays Terminating on one node, and its agent sees no reason',
    series: merged(agent(node(1)), kube(node(1), STUCK), OTHERS),
    fires: ['GVisorPodsTerminating node-1'],
    withoutKube: [],
  },
  {
    cause: 'One agent does not answer',
    series: merged(silent(node(1)), OTHERS),
    fires: ['GVisorAgentDown node-1'],
  },
  {
    cause: 'One agent never starts (ContainerCreating)',
    series: merged(kube(node(1)), OTHERS, fleet({ gvisor_ready_fleet_agents_missing: always(1) })),
    fires: ['GVisorAgentDown node-1'],
    withoutKube: ['GVisorAgentNotStarted'],
  },
  {
    cause: 'A node is down',
    series: merged(failingAt(5, agent(node(1))), kube(node(1), { [NODE_READY]: '1x6 0x60' }), OTHERS),
    fires: [],
    withoutKube: ['GVisorAgentDown node-1'],
  },
  {
    cause: 'A node is cordoned, and its agent removed',
    series: merged(kube(node(1), { kube_node_spec_unschedulable: always(1), [POD_INFO]: '' }), OTHERS),
    fires: [],
  },
  {
    cause: 'A pool of two nodes is taken out of the DaemonSet, and keeps its labels',
    series: merged(
      ...[1, 4].flatMap((i) => [
        endingAt(5, agent(node(i))),
        kube(node(i), { [POD_INFO]: '1x5 stale', gvisor_ready_fleet_label_without_agent: always(1) }),
      ]),
      OTHERS,
      fleet({ [OPEN('TooManyLost')]: always(1), gvisor_ready_fleet_paused_withdrawals: always(2) }),
    ),
    fires: ['GVisorLabelWithoutAgent node-1', 'GVisorLabelWithoutAgent node-4'],
  },
  {
    cause: 'A rollout of the agents goes on for an hour',
    series: merged(
      healthy(node(1)),
      OTHERS,
      fleet({ [OPEN('RollingOut')]: always(1), gvisor_ready_fleet_agents_missing: always(1) }),
    ),
    fires: [],
  },
  {
    cause: 'A rollout stops at an agent that does not start',
    series: merged(
      kube(node(1), { gvisor_ready_fleet_label_without_agent: always(1) }),
      OTHERS,
      fleet({ [OPEN('RollingOut')]: always(1), gvisor_ready_fleet_agents_missing: always(1) }),
    ),
    fires: ['GVisorAgentDown node-1'],
    withoutKube: ['GVisorLabelWithoutAgent node-1'],
  },
  {
    cause: 'Most agents are gone',
    series: merged(
      healthy(node(1)),
      ...[2, 3, 4].map((i) =>
        kube(node(i), { [POD_INFO]: '', gvisor_ready_fleet_node_labelled: always(0), ...WITHDRAWN }),
      ),
      { [DESIRED_AGENTS]: always(4), [CURRENT_AGENTS]: always(1) },
      fleet({ gvisor_ready_fleet_agents_missing: always(3) }),
    ),
    fires: ['GVisorAgentNotStarted', 'GVisorAgentsSilent'],
  },
  {
    cause: 'gVisor is broken on two nodes, and the agent of the third is silent',
    series: merged(
      ...[1, 2].flatMap((i) => [agent(node(i), notReady('ShimNotFound')), kube(node(i), WITHDRAWN)]),
      silent(node(3)),
      FLEET,
    ),
    fires: [
      'GVisorAgentDown node-3',
      'GVisorNoNodeReady',
      'GVisorNodeNotReady node-1',
      'GVisorNodeNotReady node-2',
    ],
  },
  {
    cause: 'The fleet controller is down',
    series: merged(healthy(node(1)), OTHERS, { 'gvisor_ready_fleet_watches_up{}': always(0) }),
    fires: ['GVisorFleetUnseen'],
  },
  {
    cause: 'Prometheus reaches no agent (a NetworkPolicy)',
    series: merged(...[1, 2, 3].map((i) => silent(node(i))), agentCount(3), FLEET),
    fires: ['GVisorAgentsMissing'],
  },
  {
    cause: 'Prometheus gives targets no label `node`',
    series: merged(
      ...[1, 2, 3].flatMap((i) => [agent(`pod="agent-${i}"`), kube(node(i))]),
      agentCount(3),
      FLEET,
    ),
    fires: ['GVisorAgentsMissing'],
  },
  {
    cause: 'The DaemonSet is deleted',
    series: merged(
      ...[1, 2].flatMap((i) => [
        kube(node(i), { [POD_INFO]: '1x5 stale', gvisor_ready_fleet_label_without_agent: always(1) }),
        endingAt(5, agent(node(i))),
      ]),
      agentCounts('2x5 stale'),
      fleet({ [OPEN('AgentsGone')]: always(1) }),
    ),
    fires: ['GVisorAgentsMissing'],
  },
  {
    cause: 'The only pool with agents goes to zero',
    series: merged(endingAt(5, healthy(node(1))), agentCounts('1x5 0x60'), FLEET),
    fires: [],
  },
  {
    cause: 'A pool goes to zero, and the control plane has an agent',
    series: merged(endingAt(5, agent(node(1))), nodeWithoutGvisor('node="control-plane"'), FLEET),
    fires: [],
  },
  {
    cause: 'A pod runs outside of gVisor, and then the agent dies',
    series: merged(failingAt(5, agent(node(1), OUTSIDE)), kube(node(1)), OTHERS),
    fires: ['GVisorAgentDown node-1', 'GVisorUnsandboxedPods node-1'],
  },
  {
    cause: 'The clock of a node is two minutes behind',
    series: merged(
      agent(node(1), {
        gvisor_ready_time_seconds: '-120+60x60',
        gvisor_ready_pods_last_seen_timestamp_seconds: '-122+60x60',
        gvisor_ready_last_proof_timestamp_seconds: '-130+60x60',
        gvisor_ready_proof_interval_seconds: always(10),
      }),
      kube(node(1)),
      OTHERS,
    ),
    fires: [],
  },
  ...MULTI_CLUSTER_CAUSES,
];

/** The series without those of kube-state-metrics. */
export function withoutKube(series: Series): Series {
  return Object.fromEntries(Object.entries(series).filter(([name]) => !name.startsWith('kube_')));
}
