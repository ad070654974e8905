import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gvisorConfig, RUNSC_CONFIG } from '../../cluster/node/config.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { DOMAIN, onDaemonSet, readinessOf, readNode, readReport, waitForRollout } from '../e2e/agents.ts';
import { shareOfProbes } from '../e2e/own-cgroup.ts';
import { containerOf } from '../e2e/upgraded-pods.ts';
import { waitForCleanup, waitForProbe } from './probe-remains.ts';
import {
  cgroupOfSandbox,
  reboot,
  shareOfProcessor,
  showsMetric,
  TIMEOUT_MS,
  useVmCluster,
  VM_NODE,
  waitForLabel,
} from './vm-cluster.ts';

const vm = useVmCluster();
/** A limit of 100m is 0.1 of a processor; under emulation a period overshoots. */
const WITHIN = 0.2;

/** Whether the agent reports LimitsNotEnforced. */
const limitsNotEnforced = async () =>
  (await readReport(vm().cluster, VM_NODE)).findings.some(
    (finding) => finding.status === 'fail' && finding.reason === 'LimitsNotEnforced',
  );

const shows = (line: string) => showsMetric(vm(), line);

const BURN = {
  command: ['/bin/sh', '-c', 'while :; do :; done'],
  resources: { limits: { cpu: '100m' } },
};

/** Starts a pod that wants more CPU than its limit of 100m; returns the cgroup of its sandbox and its CPU share. */
async function burn(name: string): Promise<{ readonly cgroup: string; readonly share: number }> {
  const pod = evaluationPod(name, { gvisor: true, container: BURN });
  await runPod(vm().cluster, name, pod, TIMEOUT_MS);
  const cgroup = await cgroupOfSandbox(vm(), name);
  const share = await shareOfProcessor(vm(), cgroup);
  console.log(`${name}: a limit of 0.1 processors, in use ${share.toFixed(2)}, in ${cgroup}`);
  return { cgroup, share };
}

/** Deletes a pod without waiting. */
const endPod = (name: string) => vm().cluster.kubectl(['delete', 'pod', name, '--wait=false']);

describe('a node with systemd and cgroup v2', () => {
  it('runs systemd and cgroup v2, and is proven', async () => {
    const { cluster, node } = vm();
    assert.equal((await node.system.run(['stat', '-fc', '%T', '/sys/fs/cgroup'])).trim(), 'cgroup2fs');
    assert.equal((await node.system.read('/proc/1/comm')).trim(), 'systemd');
    assert.equal(
      (await node.system.run(['systemctl', 'is-active', 'containerd', 'kubelet'])).trim(),
      'active\nactive',
    );
    await waitForLabel(cluster, 'true', 'True SandboxProven');
    await cluster.kubectl(['apply', '-f', '-'], evaluationPod('stays', { gvisor: true })); // for later tests
  });

  it('the cgroup of probes has the default CPU share', async () => {
    const { node } = vm();
    const [share] = await Promise.all([
      shareOfProbes(node),
      node.write(RUNSC_CONFIG, gvisorConfig(node.spec)), // unchanged, but triggers an evaluation
    ]);
    assert.equal(share, 'cpu.weight 100');
  });

  describe('with systemd-cgroup', () => {
    it("a sandbox is in its pod's cgroup, and the CPU limit is enforced", async () => {
      assert.match(await vm().node.system.read(RUNSC_CONFIG), /systemd-cgroup = "true"/);
      const { cgroup, share } = await burn('limited');
      assert.match(cgroup, /^\/kubepods\.slice\/.*\/cri-containerd-[0-9a-f]{64}\.scope$/);
      assert.ok(share < WITHIN, `it uses ${share} processors`);
      await shows('gvisor_ready_pods{handler="runsc",sandboxed="true"} 2');
      await shows('gvisor_ready_unlimited_pods 0');
      await endPod('limited');
      assert.ok(!(await limitsNotEnforced()));
      await shows('gvisor_ready_check_status{check="limits",status="pass"} 1');
    });
  });

  describe('without systemd-cgroup', () => {
    before(() => vm().node.write(RUNSC_CONFIG, gvisorConfig(vm().node.spec, false)));
    after(() => vm().node.write(RUNSC_CONFIG, gvisorConfig(vm().node.spec)));

    it("a sandbox is outside its pod's cgroup, the CPU limit is not enforced, and the agent counts the pod", async () => {
      const { cgroup, share } = await burn('unlimited');
      assert.match(cgroup, /^\/system\.slice\/kubepods-.*:cri-containerd:[0-9a-f]{64}$/);
      assert.ok(share > WITHIN, `it uses ${share} processors`);
      await shows('gvisor_ready_unlimited_pods 1');
      await endPod('unlimited');
      await shows('gvisor_ready_unlimited_pods 0');
    });

    it('the agent reports LimitsNotEnforced', async () => {
      await waitFor('the finding LimitsNotEnforced', TIMEOUT_MS, limitsNotEnforced);
      await shows('gvisor_ready_check_status{check="limits",status="fail"} 1');
      await waitForLabel(vm().cluster, 'true', 'True SandboxProven');
    });

    it('REQUIRE_LIMITS=on withdraws the label until limits are enforced, without ending a pod', async () => {
      const { cluster, node } = vm();
      const before = await containerOf(cluster, 'stays');
      await onDaemonSet(cluster, ['set', 'env'], ['REQUIRE_LIMITS=on']);
      try {
        await waitForLabel(cluster, 'false', 'False LimitsNotEnforced');
        await node.write(RUNSC_CONFIG, gvisorConfig(node.spec));
        await waitForLabel(cluster, 'true', 'True SandboxProven');
        await shows('gvisor_ready_check_status{check="limits",status="pass"} 1');
      } finally {
        await onDaemonSet(cluster, ['set', 'env'], ['REQUIRE_LIMITS-']);
      }
      await waitForRollout(cluster);
      assert.deepEqual(await containerOf(cluster, 'stays'), before);
    });
  });

  it('a pod that exhausts the PIDs of all pods makes the verdict Unknown, not False', {
    timeout: patient(900_000),
  }, async () => {
    const { cluster, node } = vm();
    // Like the kubelet with reserved PIDs.
    const limit = (max: string) =>
      node.system.run(['sh', '-c', `echo ${max} > /sys/fs/cgroup/kubepods.slice/pids.max`]);
    const script = '(while sleep 100000 & do :; done); sleep infinity';
    const manifest = evaluationPod('forks', { gvisor: false, container: { command: ['sh', '-c', script] } });
    await waitForLabel(cluster, 'true', 'True SandboxProven');
    const conditions = new Set<string>();
    try {
      await limit('600');
      await runPod(cluster, 'forks', manifest, TIMEOUT_MS);
      await waitFor('the PIDs to be exhausted', TIMEOUT_MS, async () => {
        return Number(await node.system.read('/sys/fs/cgroup/kubepods.slice/pids.current')) > 590;
      });
      await node.write(RUNSC_CONFIG, gvisorConfig(node.spec)); // unchanged, but triggers an evaluation
      await waitFor('an Unknown condition', TIMEOUT_MS, async () => {
        const { condition } = readinessOf(await readNode(cluster, VM_NODE));
        conditions.add(condition);
        return condition.startsWith('Unknown');
      });
    } finally {
      await limit('max');
      await endPod('forks');
    }
    console.log([...conditions].join(', '));
    assert.match([...conditions].join(', '), /^True SandboxProven, Unknown (NodeExhausted|NoSandboxStarts)$/);
    await waitForLabel(cluster, 'true', 'True SandboxProven');
  });

  it('probes leave no resources behind', async () => {
    await waitForProbe(vm());
    await waitForCleanup(vm());
    await waitForLabel(vm().cluster, 'true', 'True SandboxProven');
  });

  it('after a reboot the node is proven again, and its gVisor pod restarts', async () => {
    const { cluster } = vm();
    const begun = new Date();
    await reboot(vm());
    // All components start at the same time, including the agent.
    await waitFor('a proof after the reboot', 2 * TIMEOUT_MS, async () => {
      const { provenAt = '' } = await readReport(cluster, VM_NODE);
      return new Date(provenAt) > begun;
    });
    await waitForLabel(cluster, 'true', 'True SandboxProven');
    await waitFor('the pod to run again', TIMEOUT_MS, async () => {
      const { running, restarts } = await containerOf(cluster, 'stays');
      return running && restarts > 0;
    });
    assert.match(await cgroupOfSandbox(vm(), 'stays'), /^\/kubepods\.slice\//);
  });

  it('the label of the previous boot was withdrawn after the reboot', async () => {
    const { cluster, node } = vm();
    const { annotations } = (await readNode(cluster, VM_NODE)).metadata;
    const boot = (await node.system.read('/proc/sys/kernel/random/boot_id')).trim();
    assert.equal(annotations[`${DOMAIN}/proven-boot`], boot);
    const reasons = 'reason=NodeRebooted';
    const events = await cluster.kubectl(['get', 'events', '--field-selector', reasons, '-o', 'name']);
    assert.match(events, /^event\//);
  });

  it('probes after the reboot leave no resources behind', () => waitForCleanup(vm()));
});
