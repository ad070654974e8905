import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { CONTAINERD_CONFIG } from '../../cluster/node/config.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { applyOverlay } from '../e2e/agents.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { reboot, TIMEOUT_MS, VM_NODE, type VmCluster, waitForLabel } from './vm-cluster.ts';

const JOURNAL = installJournal('runsc');
const DAEMON_SET = ['--namespace=gvisor-ready', 'daemonset/gvisor-ready-install'];
/** The certificates of the cluster are valid for a year. */
const AHEAD = '350 days';
const LONG = { timeout: patient(600_000) };

let vm: VmCluster;
let original: string;
useOwnCluster(
  'vm-rollout',
  [{ name: VM_NODE, machine: 'vm', gvisor: 'none' }],
  async (cluster) => {
    vm = { cluster, node: cluster.node(VM_NODE) };
    original = await vm.node.system.read(CONTAINERD_CONFIG);
    await applyOverlay(cluster, ['install']);
    await useOwnImage();
    await waitForLabel(cluster, 'false');
  },
  ['agent', 'installer'],
);

/** The manifests name the image of another release. */
const useOwnImage = () => vm.cluster.kubectl(['set', 'image', ...DAEMON_SET, `*=${imageName('installer')}`]);
const waitForRollout = () =>
  vm.cluster.kubectl(['rollout', 'status', ...DAEMON_SET, '--timeout=240s'], undefined, patient(TIMEOUT_MS));
/** How often systemd has started containerd since the machine booted. */
const starts = async () => {
  const count = 'journalctl --boot --unit containerd --output cat | grep -c "^Started "';
  return Number(await vm.node.system.run(['sh', '-c', count]));
};

it('installs through systemd of the host, which keeps containerd in its own unit', LONG, async () => {
  const before = await starts();
  const asked = 'gvisor-ready.node-restriction.kubernetes.io/install=true';
  await vm.cluster.kubectl(['label', 'node', VM_NODE, asked]);
  await waitForLabel(vm.cluster, 'true');
  await waitForRollout();
  assert.equal(await starts(), before + 1);
  const cgroup = await vm.node.system.run(['sh', '-c', 'cat /proc/$(pidof containerd)/cgroup']);
  assert.equal(cgroup.trim(), '0::/system.slice/containerd.service');
  assert.match(
    await vm.node.system.read(CONTAINERD_CONFIG),
    /ConfigPath = "\/usr\/local\/lib\/gvisor\/release-/,
  );
});

it('restarts nothing after a reboot', LONG, async () => {
  const read = async () => [await vm.node.system.read(CONTAINERD_CONFIG), await vm.node.system.read(JOURNAL)];
  const before = await read();
  await reboot(vm);
  const path = 'jsonpath={.items[0].status.initContainerStatuses[0].restartCount}';
  const pods = ['get', 'pod', '-n', 'gvisor-ready', '-l', 'app.kubernetes.io/component=install', '-o', path];
  await waitFor(
    'the installer to run again',
    TIMEOUT_MS,
    async () => Number(await vm.cluster.kubectl(pods)) > 0,
  );
  await waitForRollout();
  await waitForLabel(vm.cluster, 'true');
  assert.deepEqual([await read(), await starts()], [before, 1]);
});

it('restarts nothing, and the agent labels the node, if its clock is nearly a year ahead', LONG, async () => {
  const [before, count] = [await vm.node.system.read(JOURNAL), await starts()];
  const setClock = (by: string) => vm.node.system.run(['date', '--set', by]);
  await setClock(AHEAD);
  const selector = ['-n', 'gvisor-ready', '-l', 'app.kubernetes.io/component=install'];
  await vm.cluster.kubectl(['delete', 'pod', ...selector]);
  await waitFor('the installer to run in its turn', TIMEOUT_MS, async () => {
    const path = 'jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}';
    return (await vm.cluster.kubectl(['get', 'pod', ...selector, '-o', path])) === 'True' || undefined;
  });
  await waitForLabel(vm.cluster, 'true');
  assert.deepEqual([await vm.node.system.read(JOURNAL), await starts()], [before, count]);
  const available = ['get', ...DAEMON_SET, '-o', 'jsonpath={.status.numberAvailable}'];
  assert.equal(await vm.cluster.kubectl(available), '1');
  await setClock(`${AHEAD} ago`);
});

it('is taken away', LONG, async () => {
  await vm.cluster.kubectl(['apply', '-k', join(REPO, 'manifests/install-remove')]);
  await useOwnImage();
  await waitForRollout();
  assert.equal(await vm.node.system.read(CONTAINERD_CONFIG), original);
  await waitForLabel(vm.cluster, 'false');
});
