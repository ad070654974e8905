import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { installJournal } from '../../agent/host/installation.ts';
import { RESTART } from '../../cluster/installer.ts';
import { CONTAINERD_CONFIG, containerdConfig, handlerTable } from '../../cluster/node/config.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { waitForNode } from './agents.ts';
import {
  install,
  installWords,
  readNodeJournal as journal,
  NODES,
  runInstaller,
  useInstallerNodes,
} from './installer-nodes.ts';
import { losePower, restorePower } from './power-loss.ts';

const JOURNAL = installJournal('runsc');

const cluster = useInstallerNodes('obstacles');
const RELEASE = '20260223.0';
const OLDER = '20250203.0';

const system = (node: string) => cluster().node(node).system;
const shell = (node: string, script: string) => system(node).run(['/bin/sh', '-ec', script]);
const config = (node: string) => system(node).read(CONTAINERD_CONFIG);
const containerdPid = (node: string) => system(node).run(['pidof', 'containerd']);

/** Type, mode, owner and content of every file that an installation could touch. */
const FILES = '/etc /usr/local/bin /usr/local/lib';
const files = (node: string) =>
  shell(
    node,
    `find ${FILES} -printf '%p %M %u %l\\n' | sort; find ${FILES} -type f -print0 | sort -z | xargs -0 sha256sum`,
  );

/** Replaces containerd's configuration, and has it loaded. */
async function configure(node: string, text: string): Promise<void> {
  await cluster().node(node).write(CONTAINERD_CONFIG, text);
  await shell(node, RESTART);
  await waitFor('containerd', 30_000, async () => (await cluster().node(node).ctr(['version'])) !== '');
}

/** Runs `work` with a small tmpfs over a directory, which has its files. */
async function onSmallDisk<T>(node: string, directory: string, options: string, work: () => Promise<T>) {
  const copy = '/run/small-disk';
  await shell(
    node,
    `mkdir -p ${directory} ${copy}; mount -t tmpfs -o ${options} tmpfs ${copy}
     [ ! -e ${CONTAINERD_CONFIG} ] || [ ${directory} != /etc/containerd ] || cp -p ${CONTAINERD_CONFIG} ${copy}
     mount --bind ${copy} ${directory}`,
  );
  return work().finally(() => shell(node, `umount ${directory} ${copy}`));
}

async function refuses(node: string, words: readonly string[], because: RegExp): Promise<void> {
  const { code, text } = await runInstaller(node, words);
  assert.deepEqual([code, because.test(text)], [1, true], text);
}

for (const { name: node, containerd } of NODES)
  describe(`the installer on containerd ${containerd}`, { concurrency: false }, () => {
    let clean = '';
    let original = '';

    it('refuses a disk without room, or one that is read-only, and changes nothing', async () => {
      [clean, original] = [await files(node), await config(node)];
      await onSmallDisk(node, '/usr/local/lib', 'size=900m', () =>
        refuses(node, installWords(RELEASE), /check: Only 900 MiB are free in "\/usr\/local\/lib"/),
      );
      await onSmallDisk(node, '/usr/local/lib', 'ro', () =>
        refuses(node, installWords(RELEASE), /check: "\/usr\/local\/lib" cannot be written \(EROFS\)/),
      );
      assert.equal(await files(node), clean);
    });

    it('fails cleanly where the disk fills up meanwhile', { timeout: patient(120_000) }, async () => {
      const pid = await containerdPid(node);
      // The directory, the journal, and one of the programs.
      const left = await onSmallDisk(node, '/usr/local/lib', 'nr_inodes=5', async () => {
        await refuses(node, installWords(RELEASE), /stage: ENOSPC/);
        assert.equal((await journal(node))?.failure?.step, 'stage');
        return shell(node, 'find /usr/local/lib -mindepth 1');
      });
      assert.equal(left.trim(), `/usr/local/lib/gvisor\n${JOURNAL}`);
      await onSmallDisk(node, '/usr/local/lib', 'nr_inodes=2', async () => {
        await refuses(node, installWords(RELEASE), /stage: ENOSPC/);
        assert.doesNotMatch(await shell(node, 'find /usr/local/lib -type f'), /./);
      });
      await onSmallDisk(node, '/etc/containerd', 'size=4k', async () => {
        await refuses(node, installWords(RELEASE), /write: ENOSPC/);
        assert.equal(await config(node), original);
        assert.equal((await shell(node, 'ls /etc/containerd')).trim(), 'config.toml');
      });
      assert.equal(await containerdPid(node), pid);
      await refuses(node, ['rollback'], /no earlier generation/);
      assert.equal((await runInstaller(node, ['remove'])).code, 0);
      assert.equal(await files(node), clean);
    });

    it('without a restart the handler works after the next boot', { timeout: patient(240_000) }, async () => {
      const pid = await containerdPid(node);
      const { code, text } = await runInstaller(node, ['--no-restart', ...installWords(RELEASE)]);
      assert.equal(code, 0, text);
      assert.equal(await containerdPid(node), pid);
      await losePower(cluster(), node);
      await restorePower(cluster(), node);
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true', 120_000);
    });

    it('changes nothing after a boot', { timeout: patient(240_000) }, async () => {
      await install(node, RELEASE);
      const before = await files(node);
      await losePower(cluster(), node);
      await restorePower(cluster(), node);
      const pid = await containerdPid(node);
      await install(node, RELEASE);
      assert.deepEqual([await files(node), await containerdPid(node)], [before, pid]);
    });

    it('keeps what others write into the file meanwhile, also where it undoes its own', {
      timeout: patient(240_000),
    }, async () => {
      const before = await config(node);
      const edit = `echo '# written meanwhile' >>${CONTAINERD_CONFIG}`;
      const once = `[ -e /tmp/failed ] || { touch /tmp/failed; ${edit}; exit 4; }; ${RESTART}`;
      const undone = await runInstaller(node, installWords(OLDER), once);
      await system(node).run(['rm', '/tmp/failed']);
      assert.equal(undone.code, 1, undone.text);
      assert.equal(await config(node), `${before}# written meanwhile\n`);
      const done = await runInstaller(node, installWords(OLDER, '--retry-now'), `${edit}; ${RESTART}`);
      assert.equal(done.code, 0, done.text);
      assert.match(await config(node), /(# written meanwhile\n){2}$/);
      await cluster()
        .node(node)
        .write(CONTAINERD_CONFIG, (await config(node)).replaceAll('# written meanwhile\n', ''));
    });

    it('leaves a file alone that lost its text, until remove', { timeout: patient(120_000) }, async () => {
      const [text, pid] = [await config(node), await containerdPid(node)];
      await cluster().node(node).write(CONTAINERD_CONFIG, original);
      await refuses(
        node,
        installWords(RELEASE, '--retry-now'),
        /is gone from .*: something rewrote the file/,
      );
      assert.deepEqual([await config(node), await containerdPid(node)], [original, pid]);
      await cluster().node(node).write(CONTAINERD_CONFIG, text);
    });

    it('does not guess what half a journal says, or a lost one', { timeout: patient(120_000) }, async () => {
      const [text, whole] = [await config(node), await system(node).read(JOURNAL)];
      await cluster()
        .node(node)
        .write(JOURNAL, whole.slice(0, whole.length / 2));
      for (const words of [installWords(RELEASE), ['rollback'], ['remove'], ['status']])
        await refuses(node, words, /journal: The journal .* cannot be understood/);
      await system(node).run(['rm', JOURNAL]);
      await refuses(node, installWords(RELEASE), /check: .*config.toml" has a text of this program/);
      assert.equal(await config(node), text);
      await cluster().node(node).write(JOURNAL, whole);
    });

    it('finishes an interrupted removal, and every file is as before', {
      timeout: patient(120_000),
    }, async () => {
      const interrupted = await runInstaller(node, ['remove'], 'exit 4');
      assert.equal(interrupted.code, 1, interrupted.text);
      assert.equal(await config(node), original);
      await install(node, RELEASE, '--retry-now');
      await runInstaller(node, ['remove'], 'exit 4');
      const { code, text } = await runInstaller(node, ['remove']);
      assert.equal(code, 0, text);
      assert.equal(await files(node), clean);
      await waitForNode(cluster(), node, ({ ready }) => ready !== 'true');
    });

    it("takes over another owner's handler only with --take-over, and gives it back", {
      timeout: patient(240_000),
    }, async () => {
      const spec = cluster().node(node).spec;
      const after = '\n# the next table\n[debug]\n  level = "info"\n';
      const foreign = `${containerdConfig(spec, handlerTable(spec))}${after}`;
      await configure(node, foreign);
      const before = await files(node);
      await refuses(
        node,
        installWords(OLDER),
        /configures the handler "runsc" already, and it is left alone/,
      );
      assert.equal(await files(node), before);
      const broken = `[ -e /tmp/failed ] || { touch /tmp/failed; exit 4; }; ${RESTART}`;
      const undone = await runInstaller(node, installWords(OLDER, '--take-over'), broken);
      await system(node).run(['rm', '/tmp/failed']);
      assert.deepEqual([undone.code, await config(node)], [1, foreign], undone.text);
      await install(node, OLDER, '--take-over', '--retry-now');
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
      await install(node, RELEASE);
      const { code, text } = await runInstaller(node, ['remove']);
      assert.equal(code, 0, text);
      assert.equal(await files(node), before);
      await configure(node, original);
    });
  });

describe('configurations of containerd 2', { concurrency: false }, () => {
  const node = 'node-1';
  const spec = () => cluster().node(node).spec;
  const DROP_IN = '/etc/containerd/conf.d/gvisor-ready-runsc.toml';
  const imports = 'imports = ["/etc/containerd/conf.d/*.toml"]\n';
  const forms: Readonly<Record<string, [() => string, string]>> = {
    'version 2': [() => containerdConfig({ ...spec(), containerd: '1.7' }), CONTAINERD_CONFIG],
    'version 4': [() => containerdConfig(spec()).replace('version = 3', 'version = 4'), CONTAINERD_CONFIG],
    'version 3 that imports a directory': [() => `${imports}${containerdConfig(spec())}`, DROP_IN],
    'version 2 that imports a directory': [
      () => `${imports}${containerdConfig({ ...spec(), containerd: '1.7' })}`,
      DROP_IN,
    ],
  };
  for (const [name, [text, place]] of Object.entries(forms))
    it(`${name}: installed in ${place}, and removed`, { timeout: patient(120_000) }, async () => {
      await configure(node, text());
      await shell(node, 'mkdir -p /etc/containerd/conf.d');
      const before = await files(node);
      await install(node, RELEASE);
      assert.match(await system(node).read(place), /BEGIN gvisor-ready/);
      assert.equal((await journal(node))?.installed?.written.file, place);
      const { code, text: said } = await runInstaller(node, ['remove']);
      assert.equal(code, 0, said);
      assert.equal(await files(node), before);
    });

  it('no process of gVisor is left', { timeout: patient(60_000) }, async () => {
    const script = 'readlink /proc/[0-9]*/exe | grep -c ^/usr/local/lib/gvisor/ || :';
    for (const { name } of NODES)
      await waitFor('probes to end', 20_000, async () => (await shell(name, script)).trim() === '0');
  });
});
