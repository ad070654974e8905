import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { V1PodList } from '@kubernetes/client-node';
import type { Cluster } from '../../cluster/cluster.ts';
import { addressOf } from '../../cluster/plan/addresses.ts';
import { startKubeRouter } from '../../cluster/services/kube-router.ts';
import { patient, waitFor } from '../../hack/run.ts';
import type { EgressMessage } from '../../lib/report/egress-message.ts';
import { DOMAIN, overlay, readNode, waitForNode, waitForRollout } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { readFleet } from '../e2e/fleet-cluster.ts';
import { plugin } from '../kubectl/run-plugin.ts';

const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'current' },
  { name: 'node-2', containerd: '2', gvisor: 'none' },
] as const;
const NODE = 'node-1';
const NAMESPACE = 'gvisor-ready-egress';
const ROUTER = 'kube-router';
const LONG = { timeout: patient(300_000) };
const DENY = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'isolated', namespace: NAMESPACE },
  spec: { podSelector: { matchLabels: { app: 'evaluation' } }, policyTypes: ['Egress'] },
};

let cluster: Cluster;
useOwnCluster(
  'egress',
  NODES,
  async (started) => {
    cluster = started;
    await startKubeRouter(cluster);
    const directory = await overlay(['egress'], [], { patches: patches() });
    await cluster.kubectl(['apply', '-k', directory]);
    await rm(directory, { recursive: true });
    await waitForRollout(cluster);
    await waitForNode(cluster, NODE, ({ ready }) => ready === 'true');
  },
  ['agent'],
);

/** kube-router rejects packets, so it needs targets that listen. */
function patches(): readonly object[] {
  const other = addressOf(cluster.node('node-2').spec);
  const change = (container: string) => [
    { op: 'test', path: `${container}/env/1/name`, value: 'TARGETS' },
    {
      op: 'replace',
      path: `${container}/env/1/value`,
      value: `kubelet=$(HOST_IP):10250 other-kubelet=${other}:10250`,
    },
    { op: 'add', path: `${container}/env/-`, value: { name: 'REFUSED', value: 'closed' } },
  ];
  const spec = '/spec/template/spec';
  const label = { op: 'add', path: '/spec/template/metadata/labels/app', value: 'evaluation' };
  const patch = [label, ...change(`${spec}/initContainers/0`), ...change(`${spec}/containers/0`)];
  const runsOn = { op: 'add', path: `${spec}/nodeSelector/kubernetes.io~1hostname`, value: 'node-2' };
  return [
    { target: { kind: 'DaemonSet', name: NAMESPACE }, patch: JSON.stringify(patch) },
    { target: { kind: 'Deployment', name: 'gvisor-ready-fleet' }, patch: JSON.stringify([runsOn]) },
  ];
}

const deny = () => cluster.kubectl(['apply', '-f', '-'], JSON.stringify(DENY));

async function canaries(): Promise<V1PodList['items']> {
  return (JSON.parse(await cluster.get(`/api/v1/namespaces/${NAMESPACE}/pods`)) as V1PodList).items;
}

/** Has another pod made, in a new sandbox, and returns what it said of its start. */
async function startAgain(meanwhile: () => Promise<void> = async () => {}): Promise<EgressMessage> {
  const was = (await canaries()).map(({ metadata }) => metadata?.uid);
  await cluster.kubectl(['delete', 'pods', '-n', NAMESPACE, '--all', '--force', '--grace-period=0']);
  await meanwhile();
  const text = await waitFor('the first container of another canary to end', 120_000, async () => {
    const pod = (await canaries()).find(({ metadata }) => !was.includes(metadata?.uid));
    return pod?.status?.initContainerStatuses?.[0]?.state?.terminated?.message;
  });
  return JSON.parse(text) as EgressMessage;
}

const opened = ({ targets }: EgressMessage) => targets.flatMap(({ name, open }) => (open ? [name] : []));

async function waitForLabel(value: string): Promise<void> {
  const key = `${DOMAIN}/egress-closed`;
  const isThere = async () => (await readNode(cluster, NODE)).metadata.labels[key] === value;
  await waitFor(`the label ${key}=${value}`, 120_000, isThere).catch(async (cause: unknown) => {
    throw new Error(await kubectlPlugin('why', NODE), { cause });
  });
}

const kubectlPlugin = async (...args: readonly string[]) =>
  (await plugin([...args, '--kubeconfig', cluster.kubeconfig])).out.replace(/\s+/g, ' ');

/** Counts the packets of pods to kubelets, in a table that kube-router does not write. */
const COUNT = ['PREROUTING', '-s', '10.240.0.0/14', '-p', 'tcp', '--dport', '10250'] as const;
const SEAL = [...COUNT, '-j', 'DROP'] as const;

async function hasCounted(): Promise<boolean> {
  const { system } = cluster.node(NODE);
  const rules = await system.run(['iptables', '-w', '-t', 'raw', '-L', 'PREROUTING', '-v', '-n', '-x']);
  return /^ *[1-9]\d* .*dpt:10250/m.test(rules);
}

/** In a network that is closed before a pod starts, as kube-router's is not, has two sandboxes started. */
async function startSealed(): Promise<void> {
  const { system } = cluster.node(NODE);
  await system.run(['iptables', '-w', '-t', 'raw', '-I', ...SEAL]);
  try {
    assert.deepEqual(opened(await startAgain()), []);
    await waitFor('the controller to see the first', 120_000, async () => {
      const { nodes } = await readFleet(cluster);
      return nodes.find(({ name }) => name === NODE)?.egress?.message === 'closed in 1 of 2 new sandboxes';
    });
    assert.deepEqual(opened(await startAgain()), []);
    await waitForLabel('true');
  } finally {
    await system.run(['iptables', '-w', '-t', 'raw', '-D', ...SEAL]);
  }
}

describe('the canary of egress, with kube-router', () => {
  it('says what is open in a namespace without a policy, on the Node and to people', LONG, async () => {
    const message = await startAgain();
    assert.deepEqual(opened(message), ['kubelet', 'other-kubelet']);
    await waitForLabel('false');
    const { alarms } = await readFleet(cluster);
    const alarm = alarms.find(({ reason }) => reason === 'EgressOpen');
    assert.match(
      alarm?.message ?? '',
      /on node-1 \(kubelet (now|for \d+ ms), other-kubelet (now|for \d+ ms)\)/,
    );
    assert.match(await kubectlPlugin('status'), /Forbidden addresses answered .* on node-1/);
    assert.match(await kubectlPlugin('why', NODE), /egress: open: kubelet/);
  });

  it('labels the node after two new sandboxes in which all was closed', LONG, async () => {
    await deny();
    await startSealed();
    assert.match(await kubectlPlugin('why', NODE), /egress: closed: nothing answered/);
  });

  it('sees the race of a pod with its policy, in milliseconds', LONG, async () => {
    const node = cluster.node(NODE);
    await node.machine.signal(ROUTER, 'STOP');
    const message = await startAgain(async () => {
      try {
        await waitFor('a canary whose first container runs', 120_000, async () => {
          const [pod] = await canaries();
          return pod?.status?.initContainerStatuses?.[0]?.state?.running !== undefined;
        });
        await node.system.run(['iptables', '-w', '-t', 'raw', '-I', ...COUNT]);
        await waitFor('a packet of it', 120_000, hasCounted);
        await node.system.run(['iptables', '-w', '-t', 'raw', '-D', ...COUNT]);
      } finally {
        await node.machine.signal(ROUTER, 'CONT');
      }
    });
    console.log(JSON.stringify(message)); // the figures of docs/egress.md
    assert.deepEqual(opened(message), ['kubelet', 'other-kubelet']);
    for (const { open } of message.targets) assert.ok((open?.untilMs ?? 0) < message.forMs);
    await waitForLabel('false');
    await startSealed();
  });

  it('sees a policy that is deleted while it runs', LONG, async () => {
    await cluster.kubectl(['delete', 'networkpolicy', '-n', NAMESPACE, DENY.metadata.name]);
    await waitForLabel('false');
    assert.match(await kubectlPlugin('why', NODE), /egress: open: (other-)?kubelet now/);
    await deny();
    await startSealed();
  });

  it('does not run on the network of the node', LONG, async () => {
    const patch = { spec: { template: { spec: { hostNetwork: true } } } };
    const daemonSet = ['-n', NAMESPACE, 'daemonset', NAMESPACE];
    await cluster.kubectl(['patch', ...daemonSet, '-p', JSON.stringify(patch)]);
    await waitFor('a refusal of Pod Security', 120_000, async () => {
      const events = await cluster.kubectl(['get', 'events', '-n', NAMESPACE]);
      return /FailedCreate.*violates PodSecurity.*host namespaces/.test(events);
    });
    assert.equal((await canaries()).length, 0);
  });
});
