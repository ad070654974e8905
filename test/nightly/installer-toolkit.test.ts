import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { patient } from '../../hack/run.ts';
import {
  DIRECTORY,
  install,
  NODES,
  readConfig,
  readNodeJournal,
  removeWhenPodsEnded,
  runInstaller,
  shell,
  startContainerd,
  useInstallerNodes,
} from '../e2e/installer-nodes.ts';

const [OLD, NEW] = ['20250203.0', '20260223.0'] as const;
const LONG = { timeout: patient(240_000) };
const COPY = '/etc/containerd/conf.d/99-nvidia.toml';

const cluster = useInstallerNodes('toolkit');

describe("the installer beside NVIDIA's toolkit", { concurrency: true }, () => {
  before(async () => {
    const tools = await ensureTools(['nvidia-toolkit']);
    for (const node of cluster().nodes())
      await cp(join(tools['nvidia-toolkit'], 'nvidia-toolkit'), node.path(`${DIRECTORY}/nvidia-toolkit`));
  });

  for (const { name: node, containerd } of NODES)
    describe(`on containerd ${containerd}`, { concurrency: false }, () => {
      /** As its pod starts or ends, with a restart of containerd. */
      const toolkit = async (verb: 'setup' | 'cleanup') => {
        const path = 'PATH=$(dirname $(readlink /proc/$(cat /run/daemons/containerd)/exe)):$PATH';
        await shell(node, `mkdir -p $(dirname ${COPY}); ${path} ${DIRECTORY}/nvidia-toolkit ${verb}`);
        await startContainerd(node);
      };
      const rollback = async () => {
        const { code, text } = await runInstaller(node, ['rollback']);
        assert.equal(code, 0, text);
      };
      const releaseIn = async () =>
        /release-[\d.]+/.exec(
          (await readNodeJournal(cluster().node(node)))?.installed?.generation ?? '',
        )?.[0];
      /** The generations that containerd's files name. */
      const named = () =>
        shell(
          node,
          `cat /etc/containerd/config.toml /etc/containerd/conf.d/* 2>/dev/null | grep -c usr/local/lib/gvisor || true`,
        );

      it('upgrades, goes back and is removed after each start of the toolkit', LONG, async () => {
        await install(node, OLD);
        await toolkit('setup');
        assert.doesNotMatch(await readConfig(node), /BEGIN gvisor-ready/); // the marks are gone
        await install(node, NEW);
        assert.equal(await releaseIn(), `release-${NEW}`);
        await toolkit('setup');
        await rollback();
        await toolkit('setup');
        await rollback();
        assert.equal(await releaseIn(), `release-${NEW}`);
        await toolkit('setup');
        await removeWhenPodsEnded(node);
        const { code, text } = await runInstaller(node, ['remove']);
        assert.deepEqual([code, /is not installed/.test(text)], [0, true], text);
        // containerd 2 merges the copy, which is the toolkit's; 1.7 reads one file, out of which it was taken.
        assert.equal(/99-nvidia\.toml" line \d+ has a copy/.test(text), containerd === '2', text);
      });

      it('is installed after the toolkit, put back once that is gone, and removed', LONG, async () => {
        await toolkit('setup');
        await install(node, OLD);
        await toolkit('setup');
        await install(node, NEW);
        await toolkit('cleanup');
        await install(node, NEW);
        assert.equal(await releaseIn(), `release-${NEW}`);
        await removeWhenPodsEnded(node);
        assert.equal((await named()).trim(), '0');
      });
    });
});
