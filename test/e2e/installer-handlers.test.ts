import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { handlerKey } from '../../agent/node/object.ts';
import { CONTAINERD_CONFIG } from '../../cluster/node/config.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { STEPS } from '../../installer/node.ts';
import { deployWith, readNode, waitForNode } from './agents.ts';
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

const cluster = useInstallerNodes('handlers');
const OLD = '20250203.0';
const NEW = '20260223.0';
const CANARY = ['--handler', 'runsc-canary'] as const;
const FLAG = ['--handler', 'runsc-flag'] as const;
const CANARY_LABEL = handlerKey('ready', 'runsc-canary');
/** The agents prove the canary, and not the other one. */
const HANDLERS = 'runsc,runsc-canary';
const CLASSES = [
  {
    metadata: { name: 'gvisor-canary' },
    handler: 'runsc-canary',
    scheduling: { nodeSelector: { [CANARY_LABEL]: 'true' } },
  },
  { metadata: { name: 'gvisor-flag' }, handler: 'runsc-flag' },
].map((each) => ({ apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', ...each }));

const canaryIs = (node: string, value: 'true' | 'false') =>
  waitFor(`the canary's label on ${node} to be ${value}`, 60_000, async () => {
    const { metadata } = await readNode(cluster(), node);
    return metadata.labels[CANARY_LABEL] === value || undefined;
  });
const system = (node: string) => cluster().node(node).system;
const config = (node: string) => system(node).read(CONTAINERD_CONFIG);
const shell = (node: string, script: string) => system(node).run(['/bin/sh', '-ec', script]);
const generations = async (node: string) =>
  (await shell(node, 'cd /usr/local/lib/gvisor; ls -d release-*')).trim().split('\n');
const generationOf = async (node: string, handler: string) =>
  (await journal(node, handler))?.installed?.generation ?? '';
const runInstallerTo = async (node: string, words: readonly string[], expected: RegExp, code = 0) => {
  const result = await runInstaller(node, words);
  const text = result.text.replace(/\s+/g, ' '); // long lines are wrapped
  assert.deepEqual([result.code, expected.test(text)], [code, true], result.text);
};
const release = async (node: string, pod: string) => releaseOf(node, (await containerOf(cluster(), pod)).uid);

/** Kills the installation of a canary; false if it was quicker, or was killed in a later step. */
async function isKilledIn(node: string, step: string): Promise<boolean> {
  await killIn(node, step, NEW, 'runsc-canary').catch(() => {});
  const { pending } = (await journal(node, 'runsc-canary')) ?? {};
  if (pending === undefined) await runInstaller(node, ['remove', ...CANARY]);
  return pending?.step === step;
}

/** The result of a removal once containerd has no sandbox of the deleted pods any more. */
async function whenPodsEnded(node: string, words: readonly string[], restart?: string) {
  return waitFor('sandboxes to end', 60_000, async () => {
    const result = await runInstaller(node, words, restart);
    return /still run/.test(result.text) ? undefined : result;
  });
}

/** The container restarts on the release that the pod started with. */
async function restarts(node: string, pod: string, expected: string): Promise<void> {
  const { restarts: times } = await containerOf(cluster(), pod);
  await endContainer(cluster(), pod);
  await waitForRestart(cluster(), pod, times + 1);
  assert.equal(await release(node, pod), `release-${expected}`);
}

for (const { name: node, containerd } of NODES) {
  const [old, canary, flagged, young] = ['old', 'canary', 'flag', 'new'].map((name) => `${name}-${node}`);
  assert.ok(old && canary && flagged && young);
  /** What no work for another handler may change: the main handler's text and commit, its pod, and its label. */
  const main = async () => {
    const { installed, previous } = (await journal(node)) ?? {};
    assert.ok((await config(node)).includes(installed?.written.text ?? 'no text'));
    await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    return { installed, previous, pod: await containerOf(cluster(), old) };
  };

  describe(`handlers beside each other on containerd ${containerd}`, { concurrency: false }, () => {
    let original = '';
    let before: Awaited<ReturnType<typeof main>>;

    it('adds one of the same release with another flag', { timeout: patient(240_000) }, async () => {
      original = await config(node);
      for (const each of CLASSES) await cluster().kubectl(['apply', '-f', '-'], JSON.stringify(each));
      await deployWith(cluster(), { HANDLERS });
      await install(node, OLD);
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
      await runEndable(cluster(), node, old);
      before = await main();
      const dry = installWords(OLD, '--dry-run', ...FLAG, '--flag', 'overlay2=none');
      await runInstallerTo(node, dry, /would write .*BEGIN gvisor-ready runsc-flag:/s);
      assert.deepEqual(await main(), before);
      const text = await install(node, OLD, ...FLAG, '--flag', 'overlay2=none');
      assert.match(text, /a sandbox of handler "runsc-flag" booted in gVisor/);
      assert.deepEqual(await main(), before);
      await runEndable(cluster(), node, flagged, 'gvisor-flag');
      const { uid } = await containerOf(cluster(), flagged);
      const find = `grep -ls "pod${uid}" /proc/[0-9]*/cgroup | while read -r f; do tr '\\0' ' ' <"\${f%cgroup}cmdline"; done`;
      assert.match(await shell(node, find), /runsc-sandbox .*--overlay2=none/);
      assert.equal((await generations(node)).length, 2);
    });

    for (const step of STEPS.filter((each) => each !== 'check'))
      it(`a kill -9 in step ${step} of a canary leaves the main handler alone, whose next run takes it back`, {
        timeout: patient(180_000),
      }, async () => {
        const [text, staged] = [await config(node), await generations(node)];
        while (!(await isKilledIn(node, step))) await install(node, OLD);
        assert.deepEqual(await main(), before);
        await runInstallerTo(
          node,
          installWords(OLD),
          /took back the installation that was interrupted in step \S+, of handler "runsc-canary"/,
        );
        assert.deepEqual(
          [await config(node), await generations(node), await journal(node, 'runsc-canary')],
          [text, staged, undefined],
        );
        assert.deepEqual(await main(), before);
      });

    it('runs a canary of the next release', { timeout: patient(240_000) }, async () => {
      const text = await install(node, NEW, ...CANARY);
      assert.match(text, /a sandbox of handler "runsc-canary" booted in gVisor/);
      await canaryIs(node, 'true');
      await runEndable(cluster(), node, canary, 'gvisor-canary');
      assert.deepEqual(
        [await release(node, old), await release(node, canary)],
        [`release-${OLD}`, `release-${NEW}`],
      );
      assert.deepEqual(await main(), before);
      await runInstallerTo(
        node,
        ['status'],
        /"runsc" runs release-20250203.*"runsc-canary" runs release-20260223.*"runsc-flag" runs release-20250203/s,
      );
      const { text: one } = await runInstaller(node, ['status', ...CANARY]);
      assert.doesNotMatch(one, /handler "runsc(-flag)?"/);
    });

    it('goes back to the committed canary after a kill -9', { timeout: patient(180_000) }, async () => {
      const text = await config(node);
      await killIn(node, 'prove', NEW, 'runsc-canary', '--flag', 'overlay2=none');
      assert.notEqual(await config(node), text);
      await runInstallerTo(node, installWords(OLD), /undo .*handler "runsc-canary"/);
      assert.equal(await config(node), text);
      await runEndable(cluster(), node, young, 'gvisor-canary');
      assert.equal(await release(node, young), `release-${NEW}`);
      await cluster().kubectl(['delete', 'pod', young]);
      assert.deepEqual(await main(), before);
    });

    it('promotes it under pods of both', { timeout: patient(240_000) }, async () => {
      const pods = () => Promise.all([old, canary, flagged].map((pod) => containerOf(cluster(), pod)));
      const running = await pods();
      await install(node, NEW);
      assert.deepEqual(await pods(), running);
      assert.equal(await generationOf(node, 'runsc'), await generationOf(node, 'runsc-canary'));
      await runEndable(cluster(), node, young);
      assert.equal(await release(node, young), `release-${NEW}`);
      await restarts(node, old, OLD);
      await restarts(node, canary, NEW);
    });

    it('removes the canary once its pods are gone, and no other', { timeout: patient(240_000) }, async () => {
      const remove = ['remove', ...CANARY];
      const text = await config(node);
      const because = new RegExp(`Pods of handler "runsc-canary" still run \\(default/${canary}\\)`);
      await runInstallerTo(node, remove, because, 1);
      assert.equal(await config(node), text);
      await cluster().kubectl(['delete', 'pod', canary]);
      const others = await Promise.all([old, young, flagged].map((pod) => containerOf(cluster(), pod)));
      const stopped = await whenPodsEnded(node, remove, 'exit 4');
      assert.match(stopped.text, /restart: containerd did not restart/);
      await runInstallerTo(node, installWords(NEW), /finished the removal .* of handler "runsc-canary"/);
      await runInstallerTo(node, remove, /"runsc-canary" is not installed/);
      assert.doesNotMatch(await config(node), /canary/);
      await canaryIs(node, 'false');
      assert.deepEqual(
        await Promise.all([old, young, flagged].map((pod) => containerOf(cluster(), pod))),
        others,
      );
      for (const handler of ['runsc', 'runsc-flag'])
        assert.match(
          (await generations(node)).join(),
          new RegExp((await generationOf(node, handler)).slice(-12)),
        );
      await restarts(node, old, OLD);
      await restarts(node, young, NEW);
    });

    it('keeps a generation that pods use after a removal by force', {
      timeout: patient(240_000),
    }, async () => {
      const used = await generationOf(node, 'runsc-flag');
      await runInstallerTo(
        node,
        ['remove', '--force', ...FLAG],
        new RegExp(`${used} stays, because sandboxes need it`),
      );
      assert.equal((await containerOf(cluster(), flagged)).running, true);
      await cluster().kubectl(['delete', 'pod', flagged]);
      await waitFor('its generation to go', 60_000, async () => {
        await install(node, NEW); // the next run for any handler removes it
        return !(await generations(node)).join().includes(used.slice(-12));
      });
    });

    it('leaves the node as it was', { timeout: patient(180_000) }, async () => {
      await cluster().kubectl(['delete', 'pod', old, young]);
      const { code, text } = await whenPodsEnded(node, ['remove']);
      assert.equal(code, 0, text);
      assert.equal(await config(node), original);
      const needed = `grep -H . /run/containerd/io.containerd.runtime.v2.task/*/*/shim-binary-path 2>/dev/null || :
        for p in /proc/[0-9]*; do case $(readlink $p/exe) in /usr/local/lib/gvisor/*) tr '\\0' ' ' <$p/cmdline; echo;; esac; done`;
      const left = await shell(node, 'ls -d /usr/local/lib/gvisor 2>/dev/null || :');
      assert.equal(left, '', `${text}\nNeeded by:\n${await shell(node, needed)}`);
    });
  });
}
