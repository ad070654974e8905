import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import type { FaultName } from '../../cluster/faults/fault-texts.ts';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { ensurePrerequisites } from '../../cluster/tools/prerequisites.ts';
import { ensureTools, toolsFor } from '../../cluster/tools/tools.ts';
import { ensureVmImage } from '../../cluster/tools/vm-image.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { PROGRAM } from '../e2e/installer-nodes.ts';
import { containerOf } from '../e2e/upgraded-pods.ts';
import { showsMetric, TIMEOUT_MS, useInstallerMachine, waitForLabel } from './vm-cluster.ts';

const OLD = '20250203.0';
const NEW = '20260223.0';
const LONG = { timeout: patient(900_000) };

const FAULTS = [
  ['shim-missing', 'ShimNotFound'],
  ['runsc-missing', 'RunscNotFound'],
  ['config-not-toml', 'RunscConfigInvalid'],
  ['handler-removed', 'HandlerNotConfigured'],
] as const satisfies readonly (readonly [FaultName, string])[];

before(
  async () => {
    await ensurePrerequisites('vms', 'arm64');
    await ensureVmImage('arm64');
    await toolsFor('arm64', ['kubernetes', 'containerd', 'cni', 'gvisor', 'gvisor-2025']);
  },
  { timeout: patient(1_800_000) }, // the builds
);
const vm = useInstallerMachine('vm-arm64', 'arm64');
const isProven = () => waitForLabel(vm().cluster, 'true', 'True SandboxProven');

describe('an emulated node of arm64', { concurrency: false }, () => {
  it(
    'is labelled by the image of its architecture once the installer has installed gVisor',
    LONG,
    async () => {
      assert.match(await vm().shell('uname -m'), /^aarch64/);
      const text = await vm().install(OLD);
      console.log(text);
      assert.match(text, /commit +handler "runsc" runs gVisor release-20250203\.0/);
      await isProven();
    },
  );

  it('runs a pod in gVisor', LONG, async () => {
    await runPod(vm().cluster, 'stays', evaluationPod('stays', { gvisor: true }), TIMEOUT_MS);
    const kernel = await vm().cluster.kubectl(['exec', 'stays', '--', 'sh', '-c', 'uname -m; dmesg']);
    assert.match(kernel, /^aarch64\n[\s\S]*Starting gVisor/);
    await showsMetric(vm(), 'gvisor_ready_pods{handler="runsc",sandboxed="true"} 1');
  });

  it('is upgraded under the running pod', LONG, async () => {
    const before = await containerOf(vm().cluster, 'stays');
    console.log(await vm().install(NEW));
    assert.deepEqual(await containerOf(vm().cluster, 'stays'), before);
    await isProven();
  });

  for (const [fault, reason] of FAULTS)
    it(`loses the label by ${fault} and has it again`, LONG, async () => {
      await breakNode(vm().cluster, vm().node, fault);
      await waitForLabel(vm().cluster, 'false', `False ${reason}`);
      await healNode(vm().cluster, vm().node, fault);
      await isProven();
    });

  it('loses the label by a runsc of another architecture', LONG, async () => {
    const { runsc = '' } = (await vm().node.gvisor()) ?? {};
    const foreign = join((await ensureTools(['gvisor'])).gvisor, 'runsc');
    await vm().node.system.install(foreign, runsc);
    await waitForLabel(vm().cluster, 'false', 'False RunscNotExecutable');
    await healNode(vm().cluster, vm().node, 'runsc-missing');
    await isProven();
  });

  it('loses the label with the removal of gVisor', LONG, async () => {
    await vm().cluster.kubectl(['delete', 'pod', 'stays', '--grace-period=0', '--force']);
    await waitFor('the sandbox to end', TIMEOUT_MS, () => vm().shell(`${PROGRAM} remove`));
    await waitForLabel(vm().cluster, 'false');
  });
});
