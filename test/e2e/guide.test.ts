import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { evaluationPod, runPod, viewNodes } from '../../cluster/story.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { patient, run, waitFor } from '../../hack/run.ts';
import { markedBlocks, withSettings } from '../docs/marked-blocks.ts';
import { laneCluster } from '../lane.ts';
import { DOMAIN, readNode } from './agents.ts';
import { runWithKubectl } from './run-with-kubectl.ts';

/** Nodes without gVisor: whatever they get, they get from the guide. */
const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'none' },
  { name: 'node-2', containerd: '1.7', gvisor: 'none' },
] as const;
const RELEASES = { '20250203.0': 'gvisor-2025', '20260223.0': 'gvisor' } as const;
type Release = keyof typeof RELEASES;
const MIRROR = '/var/lib/gvisor-releases';

const GUIDE = markedBlocks('docs/install.md').filter(({ kind }) => kind === 'run');
const commands = (...marks: readonly string[]) =>
  GUIDE.filter(({ mark }) => marks.includes(mark))
    .map(({ text }) => text)
    .join('\n');

let cluster: Cluster;
before(
  async () => {
    cluster = await startCluster({
      name: await laneCluster('guide'),
      nodes: NODES,
      images: ['workload', 'agent'],
    });
    const mirror = await publish();
    for (const node of cluster.nodes()) await cp(mirror, node.path(MIRROR), { recursive: true });
    await rm(mirror, { recursive: true });
  },
  { timeout: 600_000 },
);
after(async () => removeCluster(await laneCluster('guide')));

/** A mirror of releases as gVisor's storage has them, with the programs that were built from its sources. */
async function publish(): Promise<string> {
  const mirror = await mkdtemp(join(tmpdir(), 'releases-'));
  const arch = (await run('uname', ['-m'])).trim();
  for (const [release, group] of Object.entries(RELEASES)) {
    const tools = (await ensureTools([group]))[group];
    const folder = join(mirror, release, arch);
    const staged = join(folder, 'staged');
    await mkdir(staged, { recursive: true });
    await symlink(join(tools, 'runsc'), join(staged, 'runsc'));
    await symlink(join(tools, 'shim'), join(staged, 'containerd-shim-runsc-v1'));
    const archive = join(folder, 'gvisor.tar.bz2');
    const fast = { timeoutMs: 300_000, env: { ...process.env, BZIP2: '-1' } };
    await run('tar', ['-cjhf', archive, '-C', staged, 'runsc', 'containerd-shim-runsc-v1'], fast);
    await rm(staged, { recursive: true });
    await writeFile(`${archive}.sha512`, await run('sha512sum', ['gvisor.tar.bz2'], { cwd: folder }));
  }
  return mirror;
}

/** Runs commands as root on a node; instead of "systemctl restart containerd" it restarts containerd. */
async function runOn(node: ClusterNode, script: string): Promise<string> {
  const printed: string[] = [];
  for (const [index, part] of script.split(/^systemctl restart containerd$/m).entries()) {
    if (index > 0) await node.restart('containerd');
    printed.push(await node.machine.run(['/bin/sh', '-euc', part], { timeoutMs: 120_000 }));
  }
  return printed.join('');
}

const settings = (release: Release) => ({ RELEASE: release, MIRROR: `file://${MIRROR}` });

/** Runs the guide's commands for kubectl, in the repository. */
function runKubectl(node: string): Promise<string> {
  const script = withSettings(commands('kubectl'), {
    AGENT: imageName('agent'),
    NODE: node,
    IMAGE: imageName('workload'),
  });
  return runWithKubectl(cluster, script);
}

async function waitForLabel(node: string, label: string, value: string): Promise<void> {
  await waitFor(`${label} of ${node} to be ${value}`, 60_000, async () => {
    const { metadata } = await readNode(cluster, node);
    return metadata.labels[`${DOMAIN}/${label}`] === value ? true : undefined;
  });
}

describe('the guide, followed to the letter', () => {
  for (const { name, containerd } of NODES) {
    const release = containerd === '2' ? '20260223.0' : '20250203.0';
    it(`makes a node with containerd ${containerd} ready, and shows it`, {
      timeout: patient(400_000),
    }, async () => {
      const node = cluster.node(name);
      const script = commands('node', `node, containerd ${containerd}`);
      const printed = await runOn(node, withSettings(script, settings(release)));
      assert.match(printed, /^gvisor\.tar\.bz2: OK$/m);
      assert.match(printed, new RegExp(`^runsc version release-${release}$`, 'm'));
      assert.match(printed, /runtimes\.runsc\]/);
      const shown = await runKubectl(name);
      assert.match(shown, /^Linux version 4\.4\.0 #1 SMP Sun Jan 10 15:06:54 PST 2016$/m);
      const view = (await viewNodes(cluster)).find((one) => one.name === name);
      assert.deepEqual([view?.ready, view?.reason], ['true', 'SandboxProven'], view?.message);
    });
  }

  it('upgrades a release under a running pod: it runs on, takes commands, and can be deleted', async () => {
    const node = cluster.node('node-2');
    const spec = { nodeSelector: { 'kubernetes.io/hostname': 'node-2' } };
    await runPod(cluster, 'before', evaluationPod('before', { gvisor: true, spec }));
    const container = () =>
      cluster.kubectl([
        'get',
        'pod',
        'before',
        '-o',
        'jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}',
      ]);
    const was = await container();
    const [upgrade = ''] = GUIDE.filter(({ mark }) => mark === 'node').map(({ text }) => text);
    await runOn(node, withSettings(upgrade, settings('20260223.0')));
    await waitForLabel('node-2', 'runsc-version', 'release-20260223.0');
    await waitForLabel('node-2', 'ready', 'true');
    assert.equal(await container(), was);
    const inside = await cluster.kubectl(['exec', 'before', '--', 'cat', '/proc/version']);
    assert.match(inside, /^Linux version 4\.4\.0 /);
    await runPod(cluster, 'afterwards', evaluationPod('afterwards', { gvisor: true, spec }));
    await cluster.kubectl(
      ['delete', 'pod', 'before', 'afterwards', '--wait', '--timeout=180s'],
      undefined,
      90_000,
    );
  });

  it('takes gVisor off a node again, and the label with it', async () => {
    const node = cluster.node('node-1');
    await runOn(node, commands('remove'));
    await waitForLabel('node-1', 'ready', 'false');
    const view = (await viewNodes(cluster)).find((one) => one.name === 'node-1');
    assert.equal(view?.reason, 'HandlerNotConfigured', view?.message);
    assert.equal(existsSync(node.path('/usr/local/lib/gvisor')), false);
  });
});
