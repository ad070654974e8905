import { all, CAUSES_OF_CLUSTERS, type Cause, node, OUTSIDE, well } from './causes-of-clusters.ts';
import {
  agent,
  always,
  CREATED,
  dyingAt,
  endingAt,
  KUBELET,
  kube,
  MINUTES,
  notReady,
  POD,
  type Series,
  WANTED,
  WITHDRAWN,
  without,
} from './fleet.ts';

const wanted = (count: number): Series => ({ [WANTED]: always(count), [CREATED]: always(count) });

/** Two nodes on which all is well, and a control plane without gVisor. */
const OTHERS = all(well(node(2)), well(node(3)), without('node="control-plane"'), wanted(4));
const HANGING = { gvisor_pods_last_seen_timestamp_seconds: '0+60x4 240x60', ...notReady('CheckTimedOut') };
const CRASHING = { 'up{job="gvisor-ready-agent"}': `1 ${'0x2 1 '.repeat(MINUTES / 4)}` };

/** One root cause each. Only critical alerts page, and no cause has more than one of them. */
export const CAUSES: readonly Cause[] = [
  {
    cause: 'Nothing is wrong; the control plane has no gVisor',
    series: all(well(node(1)), OTHERS),
    fires: [],
  },
  {
    cause: 'gVisor breaks on one node of three',
    series: all(agent(node(1), notReady('ShimNotFound')), kube(node(1), WITHDRAWN), OTHERS),
    fires: ['GVisorNodeNotReady node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'gVisor breaks on every node',
    series: all(
      ...[1, 2, 3].flatMap((i) => [agent(node(i), notReady('RunscNotFound')), kube(node(i), WITHDRAWN)]),
      without('node="control-plane"'),
      wanted(4),
    ),
    fires: ['GVisorNoNodeReady', ...[1, 2, 3].map((i) => `GVisorNodeNotReady node-${i}`)],
  },
  {
    cause: 'containerd hangs on one node of three',
    series: all(agent(node(1), HANGING), kube(node(1), WITHDRAWN), OTHERS),
    fires: ['GVisorNodeNotReady node-1', 'GVisorPodsUnseen node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'gVisor breaks on one node, whose agent may not write',
    series: all(agent(node(1), notReady('ShimNotFound')), kube(node(1)), OTHERS),
    fires: ['GVisorLabelOutdated node-1', 'GVisorNodeNotReady node-1', 'GVisorReadyShareLow'],
  },
  {
    cause: 'One agent does not answer',
    series: all(dyingAt(5, agent(node(1))), kube(node(1)), OTHERS),
    fires: ['GVisorAgentDown node-1'],
  },
  {
    cause: 'One agent crashes again and again, and answers one scrape in four minutes',
    series: all(agent(node(1), CRASHING), kube(node(1)), OTHERS),
    fires: ['GVisorAgentDown node-1'],
  },
  {
    cause: 'One agent never starts (ContainerCreating)',
    series: all(kube(node(1)), OTHERS),
    fires: ['GVisorAgentNotStarted node-1'],
  },
  {
    cause: 'A node is down',
    series: all(dyingAt(5, agent(node(1))), kube(node(1), { [KUBELET]: '1x6 0x60' }), OTHERS),
    fires: [],
  },
  {
    cause: 'A node is cordoned, and its agent removed',
    series: all(kube(node(1), { kube_node_spec_unschedulable: always(1), [POD]: '' }), OTHERS),
    fires: [],
  },
  {
    cause: 'Agents are kept off a node that has the label',
    series: all(kube(node(1), { [POD]: '' }), OTHERS),
    fires: ['GVisorLabelWithoutAgent node-1'],
  },
  {
    cause: 'Prometheus reaches no agent (a NetworkPolicy)',
    series: all(...[1, 2, 3].flatMap((i) => [dyingAt(5, agent(node(i))), kube(node(i))]), wanted(3)),
    fires: ['GVisorAgentsMissing'],
  },
  {
    cause: 'Prometheus gives targets no label `node`',
    series: all(...[1, 2, 3].flatMap((i) => [agent(`pod="agent-${i}"`), kube(node(i))]), wanted(3)),
    fires: ['GVisorAgentsMissing'],
  },
  {
    cause: 'The DaemonSet is deleted',
    series: all(
      ...[1, 2].flatMap((i) => [kube(node(i), { [POD]: '1x5 stale' }), endingAt(5, agent(node(i)))]),
      { [WANTED]: '2x5 stale', [CREATED]: '2x5 stale' },
    ),
    fires: ['GVisorAgentsMissing', 'GVisorLabelWithoutAgent node-1', 'GVisorLabelWithoutAgent node-2'],
  },
  {
    cause: 'The only pool with agents goes to zero',
    series: all(endingAt(5, agent(node(1))), endingAt(5, kube(node(1))), {
      [WANTED]: '1x5 0x60',
      [CREATED]: '1x5 0x60',
    }),
    fires: [],
  },
  {
    cause: 'A pool goes to zero; the control plane has an agent, and kube-state-metrics is not there',
    series: all(endingAt(5, agent(node(1))), withoutKube(without('node="control-plane"'))),
    fires: [],
  },
  {
    cause: 'Agents may not list namespaces',
    series: all(
      agent(node(1), { gvisor_namespaces_last_update_timestamp_seconds: always(0) }),
      kube(node(1)),
      OTHERS,
    ),
    fires: ['GVisorPodsUnseen node-1'],
  },
  {
    cause: 'A pod runs outside of gVisor, and then the agent dies',
    series: all(dyingAt(5, agent(node(1), OUTSIDE)), kube(node(1)), OTHERS),
    fires: ['GVisorAgentDown node-1', 'GVisorUnsandboxedPods node-1'],
  },
  {
    cause: 'The clock of a node is two minutes behind',
    series: all(
      agent(node(1), {
        gvisor_time_seconds: '-120+60x60',
        gvisor_pods_last_seen_timestamp_seconds: '-122+60x60',
        gvisor_last_proof_timestamp_seconds: '-130+60x60',
        gvisor_proof_interval_seconds: always(10),
      }),
      kube(node(1)),
      OTHERS,
    ),
    fires: [],
  },
  ...CAUSES_OF_CLUSTERS,
];

function withoutKube(series: Series): Series {
  return Object.fromEntries(Object.entries(series).filter(([name]) => !name.startsWith('kube_')));
}
