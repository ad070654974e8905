import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, it } from 'node:test';
import { installJournal } from '../../agent/host/installation.ts';
import { RESTART } from '../../cluster/installer.ts';
import { CONTAINERD_CONFIG } from '../../cluster/node/config.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { STEPS } from '../../installer/node.ts';
import { readNode, waitForNode } from './agents.ts';
import {
  install,
  installWords,
  readNodeJournal as journal,
  killIn,
  NODES,
  releaseOf,
  runInstaller,
  useInstallerNodes,
} from './installer-nodes.ts';
import { containerOf, endContainer, runEndable, waitForRestart } from './upgraded-pods.ts';

const JOURNAL = installJournal('runsc');

const cluster = useInstallerNodes('installer');
const config = (node: string) => cluster().node(node).system.read(CONTAINERD_CONFIG);
const containerdPid = (node: string) => cluster().node(node).system.run(['pidof', 'containerd']);

const releaseOfPod = async (node: string, pod: string) =>
  releaseOf(node, (await containerOf(cluster(), pod)).uid);

/** What the Node says of gVisor during some work, each state once until it changes. */
async function statesDuring(node: string, work: () => Promise<void>): Promise<readonly string[]> {
  const condition = '.status.conditions[?(@.type=="GVisorReady")]';
  const label = '.metadata.labels.gvisor\\.node-restriction\\.kubernetes\\.io/ready';
  const path = `{${condition}.status} {${condition}.reason}, ready={${label}}{"\\n"}`;
  const { command, args } = cluster().kubectlCommand([
    'get',
    'node',
    node,
    '--watch',
    '-o',
    `jsonpath=${path}`,
  ]);
  const watch = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  const begun = new Promise<void>((resolve) => {
    watch.stdout.on('data', (chunk: Buffer) => {
      text += chunk;
      resolve();
    });
  });
  await begun;
  try {
    await work();
    await waitFor(
      'the watch to show the last state',
      10_000,
      async () => text.includes('True ') || undefined,
    );
  } finally {
    watch.kill();
  }
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.filter((line, at) => line !== lines[at - 1]);
}

for (const { name: node, containerd } of NODES) {
  describe(`the installer on containerd ${containerd}`, { concurrency: false }, () => {
    let original: string;

    it('makes a node without gVisor ready, and the agent labels it', {
      timeout: patient(180_000),
    }, async () => {
      original = await config(node);
      await waitForNode(cluster(), node, ({ condition }) => condition === 'False HandlerNotConfigured');
      const states = await statesDuring(node, async () => {
        const text = await install(node, '20250203.0');
        assert.match(text, /commit +handler "runsc" runs gVisor release-20250203\.0/);
        await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
      });
      assert.deepEqual(states, [
        'False HandlerNotConfigured, ready=false',
        'False InstallationUnderWay, ready=false',
        'True SandboxProven, ready=true',
      ]);
    });

    it('changes and restarts nothing the second time', { timeout: patient(120_000) }, async () => {
      const before = [await config(node), await containerdPid(node), (await journal(node))?.installed];
      await install(node, '20250203.0');
      assert.deepEqual(
        [await config(node), await containerdPid(node), (await journal(node))?.installed],
        before,
      );
    });

    it('refuses a release that does not boot: nothing restarts, and the label stays', {
      timeout: patient(180_000),
    }, async () => {
      const before = [await config(node), await containerdPid(node)];
      const broken = installWords('20260224.0');
      const { code, text } = await runInstaller(node, broken);
      assert.deepEqual(
        [code, /pre-prove: gVisor release-20260224.0 does not boot here/.test(text)],
        [1, true],
        text,
      );
      assert.deepEqual([await config(node), await containerdPid(node)], before);
      assert.equal((await journal(node))?.failure?.step, 'pre-prove');
      const again = await runInstaller(node, broken);
      assert.match(again.text, /is tried again after .*--retry-now/);
      assert.equal(
        (await readNode(cluster(), node)).metadata.labels['gvisor.node-restriction.kubernetes.io/ready'],
        'true',
      );
    });

    it('upgrades under a running pod, whose container restarts on its own release', {
      timeout: patient(240_000),
    }, async () => {
      const [old, young] = [`old-${node}`, `new-${node}`];
      await runEndable(cluster(), node, old);
      const before = await containerOf(cluster(), old);
      assert.equal(await releaseOfPod(node, old), 'release-20250203.0');
      await install(node, '20260223.0');
      assert.deepEqual(await containerOf(cluster(), old), before);
      await cluster().kubectl(['exec', old, '--', 'true']);
      await endContainer(cluster(), old);
      await waitForRestart(cluster(), old, 1);
      assert.equal(await releaseOfPod(node, old), 'release-20250203.0');
      await runEndable(cluster(), node, young);
      assert.equal(await releaseOfPod(node, young), 'release-20260223.0');
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    });

    it('goes back to the release before', { timeout: patient(120_000) }, async () => {
      const { code, text } = await runInstaller(node, ['rollback']);
      assert.deepEqual(
        [code, (await journal(node))?.installed?.generation.includes('20250203.0')],
        [0, true],
        text,
      );
    });

    it('restores the node where containerd does not come back', { timeout: patient(180_000) }, async () => {
      const before = await config(node);
      const once = `if [ -e /tmp/failed ]; then ${RESTART}; else touch /tmp/failed; exit 4; fi`;
      const words = installWords('20260223.0', '--retry-now');
      const { code, text } = await runInstaller(node, words, once);
      await cluster().node(node).remove('/tmp/failed');
      assert.deepEqual([code, /restart: containerd did not restart/.test(text)], [1, true], text);
      assert.equal(await config(node), before);
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    });

    it('refuses to touch its own text once it was edited', {
      timeout: patient(120_000),
    }, async () => {
      const before = await config(node);
      const changed = before.replace(
        'runtime_type = "io.containerd.runsc.v1"',
        'runtime_type = "io.containerd.runsc.v2"',
      );
      await cluster().node(node).write(CONTAINERD_CONFIG, changed);
      const { code, text } = await runInstaller(node, installWords('20260223.0', '--retry-now'));
      assert.deepEqual(
        [
          code,
          /- +runtime_type = "io.containerd.runsc.v1"\n\+ +runtime_type = "io.containerd.runsc.v2"/.test(
            text,
          ),
        ],
        [1, true],
        text,
      );
      assert.equal(await config(node), changed);
      await cluster().node(node).write(CONTAINERD_CONFIG, before);
    });

    it('waits for a shim that does not answer, and gives up with its name', async () => {
      const before = [await config(node), await containerdPid(node)];
      const shims = (await cluster().node(node).system.processes()).filter(({ argv }) =>
        argv[0]?.endsWith('/containerd-shim-runsc-v1'),
      );
      const pids = shims.map(({ pid }) => pid);
      await cluster().node(node).system.kill('STOP', pids);
      const words = installWords('20260223.0', '--retry-now');
      const impatient = ['--quiet-timeout', '3', ...words];
      const { code, text } = await runInstaller(node, impatient).finally(() =>
        cluster().node(node).system.kill('CONT', pids),
      );
      const named = pids.some((pid) => text.includes(`the shim ${pid} (stopped)`));
      assert.deepEqual([code, named], [1, true], text);
      assert.deepEqual([await config(node), await containerdPid(node)], before);
    });

    it('lets one installer work at a time', { timeout: patient(120_000) }, async () => {
      const words = installWords('20250203.0');
      const results = await Promise.all([runInstaller(node, words), runInstaller(node, words)]);
      assert.deepEqual(results.map(({ code }) => code).sort(), [0, 1]);
      assert.match(results.map(({ text }) => text).join(''), /Another installer is at work/);
    });

    for (const step of STEPS.filter((each) => each !== 'check'))
      it(`finishes what a kill -9 in step ${step} interrupted`, { timeout: patient(180_000) }, async () => {
        const [from, to] = (await journal(node))?.installed?.generation.includes('2025')
          ? ['20250203.0', '20260223.0']
          : ['20260223.0', '20250203.0'];
        await killIn(node, step, to ?? '');
        await install(node, to ?? '');
        const { installed, previous, pending } = (await journal(node)) ?? {};
        assert.deepEqual(
          [installed?.generation.includes(to ?? ''), previous?.generation.includes(from ?? ''), pending],
          [true, true, undefined],
        );
      });

    it('takes away exactly what it brought', { timeout: patient(180_000) }, async () => {
      await cluster().kubectl(['delete', 'pod', `old-${node}`, `new-${node}`, '--grace-period=1']);
      const { code, text } = await waitFor('sandboxes to end', 60_000, async () => {
        const result = await runInstaller(node, ['remove']);
        return /still run/.test(result.text) ? undefined : result;
      });
      assert.equal(code, 0, text);
      assert.equal(await config(node), original);
      const left = await cluster()
        .node(node)
        .system.run(['sh', '-c', `ls -d /usr/local/lib/gvisor ${JOURNAL} 2>&1; true`]);
      assert.doesNotMatch(left, /^\//m);
      await waitForNode(cluster(), node, ({ ready }) => ready !== 'true');
    });
  });
}
