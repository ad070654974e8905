import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { handlerKey } from '../../agent/node/object.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { STEPS } from '../../installer/node.ts';
import { deployWith, readNode, waitForNode } from './agents.ts';
import {
  type InstallerNode,
  install,
  installWords,
  killIn,
  readConfig,
  readNodeJournal,
  releaseOf,
  removeWhenPodsEnded,
  runInstaller,
  shell,
} from './installer-nodes.ts';
import { containerOf, endContainer, runEndable, waitForRestart } from './upgraded-pods.ts';

const [OLD, NEW] = ['20250203.0', '20260223.0'] as const;
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

/** Handlers of other flags and releases beside the main one, which no work for them may change. */
export function tellHandlers({ name: node, containerd }: InstallerNode, cluster: () => Cluster): void {
  const podOf = (name: string) => `${name}-${node}`;
  const [old, canary, flagged, young] = [podOf('old'), podOf('canary'), podOf('flag'), podOf('new')];
  const canaryIs = (value: 'true' | 'false') =>
    waitFor(`the canary's label on ${node} to be ${value}`, 60_000, async () => {
      const { metadata } = await readNode(cluster(), node);
      return metadata.labels[CANARY_LABEL] === value;
    });
  const generations = async () =>
    (await shell(node, 'ls -d /usr/local/lib/gvisor/release-* 2>/dev/null || :')).split('\n').filter(Boolean);
  const generationOf = async (handler: string) =>
    (await readNodeJournal(node, handler))?.installed?.generation ?? '';
  const runInstallerTo = async (words: readonly string[], expected: RegExp, code = 0) => {
    const result = await runInstaller(node, words);
    const text = result.text.replace(/\s+/g, ' '); // long lines are wrapped
    assert.deepEqual([result.code, expected.test(text)], [code, true], result.text);
  };
  const releaseOfPod = async (pod: string) => releaseOf(node, (await containerOf(cluster(), pod)).uid);

  /** Kills the installation of a canary; false if it was quicker, or was killed in a later step. */
  const isKilledIn = async (step: string) => {
    await killIn(node, step, NEW, 'runsc-canary').catch(() => {});
    const { pending } = (await readNodeJournal(node, 'runsc-canary')) ?? {};
    if (pending === undefined) await runInstaller(node, ['remove', ...CANARY]);
    return pending?.step === step;
  };

  /** The container restarts on the release that the pod started with. */
  const restarts = async (pod: string, release: string) => {
    const { restarts: times } = await containerOf(cluster(), pod);
    await endContainer(cluster(), pod);
    await waitForRestart(cluster(), pod, times + 1);
    assert.equal(await releaseOfPod(pod), `release-${release}`);
  };

  /** The main handler's commit and its pod, once its text and its label are seen. */
  const main = async () => {
    const { installed, previous } = (await readNodeJournal(node)) ?? {};
    assert.ok((await readConfig(node)).includes(installed?.written.text ?? 'no text'));
    await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    return { installed, previous, pod: await containerOf(cluster(), old) };
  };

  describe(`handlers beside each other on containerd ${containerd}`, { concurrency: false }, () => {
    let original = '';
    let before: Awaited<ReturnType<typeof main>>;

    it('adds one of the same release with another flag', { timeout: patient(240_000) }, async () => {
      original = await readConfig(node);
      for (const each of CLASSES) await cluster().kubectl(['apply', '-f', '-'], JSON.stringify(each));
      await deployWith(cluster(), { HANDLERS });
      await install(node, OLD);
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
      await runEndable(cluster(), node, old);
      before = await main();
      const text = await install(node, OLD, ...FLAG, '--flag', 'overlay2=none');
      assert.match(text, /a sandbox of handler "runsc-flag" booted in gVisor/);
      assert.deepEqual(await main(), before);
      await runEndable(cluster(), node, flagged, 'gvisor-flag');
      const { uid } = await containerOf(cluster(), flagged);
      const find = `grep -ls "pod${uid}" /proc/[0-9]*/cgroup | while read -r f; do tr '\\0' ' ' <"\${f%cgroup}cmdline"; done`;
      assert.match(await shell(node, find), /runsc-sandbox .*--overlay2=none/);
      assert.equal((await generations()).length, 2);
    });

    for (const step of STEPS.filter((each) => each !== 'check'))
      it(`a kill -9 in step ${step} of a canary leaves the main handler alone, whose next run takes it back`, {
        timeout: patient(180_000),
      }, async () => {
        const state = [await readConfig(node), await generations()];
        while (!(await isKilledIn(step))) await install(node, OLD);
        assert.deepEqual(await main(), before);
        const undone = /took back the installation .* in step \S+, of handler "runsc-canary"/;
        await runInstallerTo(installWords(OLD), undone);
        assert.deepEqual([await readConfig(node), await generations()], state);
        assert.deepEqual([await readNodeJournal(node, 'runsc-canary'), await main()], [undefined, before]);
      });

    it('runs a canary of the next release', { timeout: patient(240_000) }, async () => {
      await install(node, NEW, ...CANARY);
      await canaryIs('true');
      await runEndable(cluster(), node, canary, 'gvisor-canary');
      const releases = [await releaseOfPod(old), await releaseOfPod(canary)];
      assert.deepEqual([...releases, await main()], [`release-${OLD}`, `release-${NEW}`, before]);
      await runInstallerTo(
        ['status'],
        /"runsc" runs release-20250203.*"runsc-canary" runs release-20260223.*"runsc-flag" runs release-20250203/s,
      );
      const { text: one } = await runInstaller(node, ['status', ...CANARY]);
      assert.doesNotMatch(one, /handler "runsc(-flag)?"/);
    });

    it('promotes it under pods of both', { timeout: patient(240_000) }, async () => {
      const pods = () => Promise.all([old, canary, flagged].map((pod) => containerOf(cluster(), pod)));
      const running = await pods();
      await install(node, NEW);
      assert.deepEqual(await pods(), running);
      assert.equal(await generationOf('runsc'), await generationOf('runsc-canary'));
      await runEndable(cluster(), node, young);
      assert.equal(await releaseOfPod(young), `release-${NEW}`);
      await restarts(old, OLD);
      await restarts(canary, NEW);
    });

    it('removes the canary once its pods are gone, and no other', { timeout: patient(240_000) }, async () => {
      await runInstallerTo(['remove', ...CANARY], /"runsc-canary" still run/, 1);
      await cluster().kubectl(['delete', 'pod', canary]);
      const pods = () => Promise.all([old, young, flagged].map((pod) => containerOf(cluster(), pod)));
      const others = await pods();
      await removeWhenPodsEnded(node, ...CANARY);
      assert.doesNotMatch(await readConfig(node), /canary/);
      await canaryIs('false');
      assert.deepEqual(await pods(), others);
      await restarts(old, OLD);
      await restarts(young, NEW);
    });

    it('keeps a generation that pods use after a removal by force', {
      timeout: patient(240_000),
    }, async () => {
      const used = await generationOf('runsc-flag');
      await runInstallerTo(
        ['remove', '--force', ...FLAG],
        new RegExp(`${used} stays, because sandboxes need it`),
      );
      assert.equal((await containerOf(cluster(), flagged)).running, true);
      await cluster().kubectl(['delete', 'pod', flagged]);
      await waitFor('its generation to go', 60_000, async () => {
        await install(node, NEW); // the next run for any handler removes it
        return !(await generations()).includes(used);
      });
    });

    it('leaves the node as it was', { timeout: patient(180_000) }, async () => {
      await cluster().kubectl(['delete', 'pod', old, young]);
      await removeWhenPodsEnded(node);
      assert.equal(await readConfig(node), original);
      assert.equal(await shell(node, 'ls -d /usr/local/lib/gvisor 2>/dev/null || :'), '');
    });
  });
}
