import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { CONTAINERD_CONFIG, containerdConfig } from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { newSandbox } from '../../lib/proof/sandbox.ts';
import { waitForNode } from '../e2e/agents.ts';
import {
  containerdPid,
  type InstallerNode,
  install,
  installWords,
  killIn,
  putConfig,
  readConfig,
  readNodeJournal,
  releaseOf,
  removeWhenPodsEnded,
  runInstaller,
  shell,
} from '../e2e/installer-nodes.ts';
import { containerOf, endContainer, runEndable, waitForRestart } from '../e2e/upgraded-pods.ts';
import { connect } from '../integration/integration-cluster.ts';

const JOURNAL = installJournal('runsc');
const CANARY = ['--handler', 'runsc-canary'] as const;
const LONG = { timeout: patient(240_000) };
const [OLD, NEW, BROKEN] = ['20250203.0', '20260223.0', '20260224.0'] as const;
const IMPORTS = 'imports = ["/etc/containerd/conf.d/*.toml"]\n';
const DROP_IN = '/etc/containerd/conf.d/zz-gvisor-ready-runsc.toml';

const RUNC_TABLE = /\[[^\]]*runtimes\.runc\]\n.*\n/;
/** Type, mode, owner and content of every file that an installation could touch. */
const filesOf = (node: string) => {
  const places = '/etc /usr/local/bin /usr/local/lib';
  const list = `find ${places} -printf '%p %M %u %l\\n' | sort`;
  return shell(node, `${list}; find ${places} -type f -print0 | sort -z | xargs -0 sha256sum`);
};

/** Leaves one as containerd 1.7 does if a restart interrupts a boot: without record and bundle. */
function forgetShim(node: string): Promise<string> {
  const id = 'f'.repeat(64);
  const start = `-namespace k8s.io -address /run/containerd/containerd.sock -id ${id} start`;
  return shell(
    node,
    `cd /run/containerd/io.containerd.runtime.v2.task/k8s.io; mkdir ${id}; cp $(ls */config.json | head -1) ${id}
     cd ${id}; touch log; $(ls /usr/local/lib/gvisor/*/containerd-shim-runsc-v1 | head -1) ${start} >log 2>&1 </dev/null
     mv ../${id} ../.${id}; rm -r ../.${id}; readlink /proc/[0-9]*/cwd | grep "${id} (deleted)"`,
  );
}

/** Leaves one of which containerd knows nothing, as a probe's shim does that dies while there is no runsc (2.4.2). */
async function forgetSentry(node: ClusterNode): Promise<void> {
  const client = connect(node);
  const id = await client.runSandbox(newSandbox('/kubepods/gvisor_ready', 'forgotten'), 'runsc', {
    timeoutMs: null,
  });
  const bundle = `${client.bundles}/${id}`;
  await shell(
    node.name,
    `cd /usr/local/lib/gvisor; for file in */runsc; do mv $file $file.away; done
     for each in /proc/[0-9]*; do [ "$(readlink $each/cwd)" != ${bundle} ] || kill -KILL \${each#/proc/} || :; done
     while [ -e ${bundle} ]; do sleep 0.1; done
     for file in */runsc.away; do mv $file \${file%.away}; done`,
  );
  await client.removeSandbox(id);
  client.close();
}

/** From a node without gVisor to an upgrade under a running pod, kills and a full disk, and back. */
export function tellInstaller({ name: node, containerd }: InstallerNode, cluster: () => Cluster): void {
  const [old, canary, young] = [`old-${node}`, `canary-${node}`, `new-${node}`] as const;
  const releaseOfPod = async (pod: string) =>
    (await releaseOf(node, (await containerOf(cluster(), pod)).uid)).replace('release-', '');
  const isReady = () => waitForNode(cluster(), node, ({ ready }) => ready === 'true', 120_000);
  const refuses = async (words: readonly string[], because: RegExp) => {
    const { code, text } = await runInstaller(node, words);
    assert.deepEqual([code, because.test(text)], [1, true], text);
  };
  /** Runs `work` with a small tmpfs over a directory, which has containerd's file if it is there. */
  const onSmallDisk = async (directory: string, options: string, work: () => Promise<void>) => {
    const copy = '/run/small-disk';
    const mount = `mkdir -p ${copy}; mount -t tmpfs -o ${options} tmpfs ${copy}`;
    const fill = `[ ${directory} != ${dirname(CONTAINERD_CONFIG)} ] || cp -p ${CONTAINERD_CONFIG} ${copy}`;
    await shell(node, `${mount}; ${fill}; mount --bind ${copy} ${directory}`);
    await work().finally(() => shell(node, `umount ${directory} ${copy}`));
  };

  describe(`the installer on containerd ${containerd}`, { concurrency: false }, () => {
    let clean = '';
    let original = '';

    it('fails cleanly if the disk is read-only or fills up meanwhile', LONG, async () => {
      [clean, original] = [await filesOf(node), await readConfig(node)];
      const pid = await containerdPid(node);
      const words = installWords(NEW);
      await onSmallDisk('/usr/local/lib', 'ro', () => refuses(words, /check: .*cannot be written \(EROFS\)/));
      // The directory, the journal, and one of the programs; then not even the journal.
      for (const [inodes, left] of [
        [5, JOURNAL],
        [2, ''],
      ] as const)
        await onSmallDisk('/usr/local/lib', `nr_inodes=${inodes}`, async () => {
          await refuses(words, /stage: .*ENOSPC/);
          assert.equal((await shell(node, 'find /usr/local/lib -type f')).trim(), left);
        });
      await onSmallDisk('/etc/containerd', 'size=4k', async () => {
        await refuses(words, /write: .*No space left on device/);
        assert.equal(await readConfig(node), original);
        assert.equal((await shell(node, 'ls /etc/containerd')).trim(), 'config.toml');
      });
      assert.equal(await containerdPid(node), pid);
      assert.equal((await runInstaller(node, ['remove'])).code, 0);
      assert.equal(await filesOf(node), clean);
    });

    it('makes a node without gVisor ready, and the agent labels it', LONG, async () => {
      await waitForNode(cluster(), node, ({ condition }) => condition === 'False HandlerNotConfigured');
      assert.match(await install(node, OLD), /commit +handler "runsc" runs gVisor release-20250203\.0/);
      await isReady();
    });

    it('adds a handler of another release and flag beside it', LONG, async () => {
      const metadata = { name: 'gvisor-canary' };
      const runtimeClass = {
        apiVersion: 'node.k8s.io/v1',
        kind: 'RuntimeClass',
        metadata,
        handler: 'runsc-canary',
      };
      await cluster().kubectl(['apply', '-f', '-'], JSON.stringify(runtimeClass));
      await runEndable(cluster(), node, old);
      const main = async () => [
        await readNodeJournal(cluster().node(node)),
        await containerOf(cluster(), old),
        await isReady(),
      ];
      const before = await main();
      assert.equal(await killIn(node, 'prove', NEW, 'runsc-canary'), true);
      const { text } = await runInstaller(node, installWords(OLD));
      assert.match(text.replace(/\s+/g, ' '), /took back .* in step prove, of handler "runsc-canary"/);
      await install(node, NEW, ...CANARY, '--flag', 'overlay2=none');
      await runEndable(cluster(), node, canary, 'gvisor-canary');
      const { uid } = await containerOf(cluster(), canary);
      const find = `grep -ls "pod${uid}" /proc/[0-9]*/cgroup | while read -r f; do tr '\\0' ' ' <"\${f%cgroup}cmdline"; done`;
      assert.match(await shell(node, find), /runsc-sandbox .*--overlay2=none/);
      assert.deepEqual([await releaseOfPod(old), await releaseOfPod(canary)], [OLD, NEW]);
      assert.deepEqual(await main(), before);
    });

    it('upgrades under running pods, whose containers restart on their own release', LONG, async () => {
      const running = () => Promise.all([old, canary].map((pod) => containerOf(cluster(), pod)));
      const before = [await readConfig(node), await containerdPid(node), await running()];
      await refuses(installWords(BROKEN), /pre-prove: gVisor release-20260224.0 does not boot here/);
      assert.deepEqual([await readConfig(node), await containerdPid(node), await running()], before);
      await install(node, NEW);
      assert.deepEqual(await running(), before[2]);
      await cluster().kubectl(['exec', old, '--', 'true']);
      await endContainer(cluster(), old);
      await waitForRestart(cluster(), old, 1);
      await runEndable(cluster(), node, young);
      assert.deepEqual([await releaseOfPod(old), await releaseOfPod(young)], [OLD, NEW]);
      await isReady();
    });

    it('keeps the programs that pods use after a removal by force', LONG, async () => {
      const { generation = '' } =
        (await readNodeJournal(cluster().node(node), 'runsc-canary'))?.installed ?? {};
      await refuses(['remove', ...CANARY], /Pods of handler "runsc-canary" still run/);
      const { text } = await runInstaller(node, ['remove', '--force', ...CANARY]);
      assert.match(text, new RegExp(`${generation} stays`));
      assert.equal((await containerOf(cluster(), canary)).running, true);
      await cluster().kubectl(['delete', 'pod', canary]);
      await waitFor('its generation to go', 60_000, async () => {
        await install(node, OLD); // the next run for any handler removes it
        return !(await filesOf(node)).includes(generation);
      });
    });

    it('takes away exactly what it brought, and ends what containerd forgot', LONG, async () => {
      await forgetSentry(cluster().node(node));
      await cluster().kubectl(['delete', 'pod', old, young, '--grace-period=1']);
      await forgetShim(node);
      await removeWhenPodsEnded(node);
      assert.equal(await filesOf(node), clean);
      await waitForNode(cluster(), node, ({ ready }) => ready !== 'true');
    });

    const spec = () => cluster().node(node).spec;
    const put = async (text: string) => {
      await shell(node, 'mkdir -p /etc/containerd/conf.d');
      await putConfig(node, text);
    };
    const forms: Readonly<Record<typeof containerd, Readonly<Record<string, [() => string, string]>>>> = {
      '2': {
        'version 2': [() => containerdConfig({ ...spec(), containerd: '1.7' }), CONTAINERD_CONFIG],
        'version 4': [
          () => containerdConfig(spec()).replace('version = 3', 'version = 4'),
          CONTAINERD_CONFIG,
        ],
        'version 3 with imports': [() => `${IMPORTS}${containerdConfig(spec())}`, DROP_IN],
        'version 2 with imports': [
          () => `${IMPORTS}${containerdConfig({ ...spec(), containerd: '1.7' })}`,
          DROP_IN,
        ],
      },
      '1.7': {
        'no table of handlers': [() => containerdConfig(spec()).replace(RUNC_TABLE, ''), CONTAINERD_CONFIG],
      },
    };
    for (const [name, [text, place]] of Object.entries(forms[containerd]))
      it(`${name}: installed in ${place}, and removed`, LONG, async () => {
        await put(text());
        const before = await filesOf(node);
        await install(node, NEW);
        assert.match(await cluster().node(node).system.read(place), /BEGIN gvisor-ready/);
        await removeWhenPodsEnded(node);
        assert.equal(await filesOf(node), before);
      });
  });
}
