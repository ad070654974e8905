import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { evaluationPod, runPod } from '../../cluster/pods.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { STEPS, type StepName } from '../../installer/base/refusal.ts';
import { installWords, PROGRAM, readNodeJournal } from '../e2e/installer-nodes.ts';
import { losePower } from '../e2e/power-loss.ts';
import { containerOf } from '../e2e/upgraded-pods.ts';
import { INSTALL_MS, TIMEOUT_MS, useInstallerMachine, waitForLabel } from './vm-cluster.ts';

const OLD = '20250203.0';
const NEW = '20260223.0';
const vm = useInstallerMachine('vm-installer');
const containerd = () =>
  vm().node.system.run(['systemctl', 'show', '-p', 'ActiveState,MainPID', 'containerd']);

const journal = () => readNodeJournal(vm().node);
const installed = async () => /release-[\d.]+/.exec((await journal())?.installed?.generation ?? '')?.[0];

/** Starts an installation, and cuts the power once its journal names this step or a later one. Returns that step. */
async function losePowerIn(step: StepName, release: string): Promise<StepName> {
  const { node, cluster } = vm();
  const ended = vm()
    .install(release)
    .then((text) => assert.fail(`it is over: ${text}`));
  const reached = waitFor(`the step ${step}`, INSTALL_MS, async () => {
    const at = (await journal())?.pending?.step;
    return at !== undefined && STEPS.indexOf(at) >= STEPS.indexOf(step) ? at : undefined;
  });
  const seen = await Promise.race([reached, ended]);
  await losePower(cluster, node.name);
  await ended.catch(() => {}); // without its node
  await node.system.start(cluster.controlPlane);
  return seen;
}

describe('the installer on a node with systemd and cgroup v2', { concurrency: false }, () => {
  it('restarts the unit of containerd, uses its cgroup driver, and the agent labels the node', {
    timeout: patient(900_000),
  }, async () => {
    const before = await containerd();
    const text = await vm().shell(`umask 077; exec ${[PROGRAM, ...installWords(OLD)].join(' ')}`);
    console.log(text);
    assert.match(text, /cgroup driver systemd/);
    assert.match(text, /commit +handler "runsc" runs gVisor release-20250203\.0/);
    const { generation = '' } = (await journal())?.installed ?? {};
    assert.match(await vm().node.system.read(`${generation}/runsc.toml`), /systemd-cgroup = "true"/);
    const now = await containerd();
    assert.match(now, /^ActiveState=active$/m);
    assert.notEqual(now, before);
    await waitForLabel(vm().cluster, 'true', 'True SandboxProven');
  });

  it('upgrades under a running pod', { timeout: patient(900_000) }, async () => {
    await runPod(vm().cluster, 'stays', evaluationPod('stays', { gvisor: true }), TIMEOUT_MS);
    const before = await containerOf(vm().cluster, 'stays');
    console.log(await vm().install(NEW));
    assert.deepEqual(await containerOf(vm().cluster, 'stays'), before);
    assert.equal(await installed(), `release-${NEW}`);
    await waitForLabel(vm().cluster, 'true', 'True SandboxProven');
  });

  for (const [at, step] of STEPS.filter((each) => each !== 'check').entries())
    it(`finishes what a power loss in ${step} interrupted`, { timeout: patient(1_200_000) }, async () => {
      const release = at % 2 === 0 ? OLD : NEW;
      console.log(`the power was lost in ${await losePowerIn(step, release)}`);
      await waitFor('containerd', TIMEOUT_MS, async () => /=active$/m.test(await containerd()));
      await vm().node.ctr(['version']);
      console.log(await vm().install(release));
      assert.deepEqual([await installed(), (await journal())?.pending], [`release-${release}`, undefined]);
      await waitForLabel(vm().cluster, 'true', 'True SandboxProven');
    });
});
