import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Cluster } from '../../cluster/cluster.ts';
import { PREWARMER_SCRIPT } from '../../cluster/node/config.ts';
import { RESTART } from '../../cluster/node/installer.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { markedBlocks, substituteSettings } from '../docs/marked-blocks.ts';

const RELEASES = {
  '20250203.0': 'gvisor-2025',
  '20260223.0': 'gvisor',
  '20260831.0': 'gvisor-2026-09',
} as const;

/** A release of gVisor on the mirror of {@link createMirrors}. */
export type Release = keyof typeof RELEASES;

const MIRROR = '/var/lib/gvisor-releases';
/** Where the node has a copy of dist/installer. */
export const INSTALLER = '/root/installer';
const GUIDE = [
  ...markedBlocks('docs/install.md').filter(({ kind }) => kind === 'run'),
  ...markedBlocks('docs/operations.md').filter(({ mark }) => mark.startsWith('node, ')),
];

/** The command blocks of docs/install.md and docs/operations.md with these marks, in the order of the pages. */
export function guideBlocks(...marks: readonly string[]): string[] {
  return GUIDE.filter(({ mark }) => marks.includes(mark)).map(({ text }) => text);
}

/** Creates a mirror of gVisor's release storage on every node, with programs built from source. */
export async function createMirrors(cluster: Cluster): Promise<void> {
  const mirror = await mkdtemp(join(tmpdir(), 'releases-'));
  const arch = (await run('uname', ['-m'])).trim();
  for (const [release, group] of Object.entries(RELEASES)) {
    const tools = (await ensureTools([group]))[group];
    const directory = join(mirror, release, arch);
    const staged = join(directory, 'staged');
    await mkdir(staged, { recursive: true });
    await symlink(join(tools, 'runsc'), join(staged, 'runsc'));
    await symlink(join(tools, 'shim'), join(staged, 'containerd-shim-runsc-v1'));
    if (group === 'gvisor-2026-09') {
      await mkdir(join(staged, 'gvisor-bin'));
      await symlink(join(tools, 'runsc'), join(staged, 'gvisor-bin/gvisor_sentry'));
      const prewarmer = join(staged, 'gvisor-bin/gvisor-sentry-prewarmer');
      await writeFile(prewarmer, PREWARMER_SCRIPT, { mode: 0o755 });
    }
    const archive = join(directory, 'gvisor.tar.bz2');
    const fast = { timeoutMs: 300_000, env: { ...process.env, BZIP2: '-1' } };
    await run('tar', ['-cjhf', archive, '-C', staged, ...(await readdir(staged))], fast);
    await rm(staged, { recursive: true });
    await writeFile(`${archive}.sha512`, await run('sha512sum', ['gvisor.tar.bz2'], { cwd: directory }));
  }
  for (const node of cluster.nodes()) await cp(mirror, node.path(MIRROR), { recursive: true });
  await rm(mirror, { recursive: true });
}

/** Makes the installer and a release of the mirror in this repository, as the page says. Returns the directory. */
export async function buildInstaller(node: ClusterNode, release: Release): Promise<string> {
  const file = (path: string) => node.path(join(MIRROR, path.replace(/^\/release\//, '')));
  const server = createServer((request, response) => {
    pipeline(createReadStream(file(request.url ?? '')), response).catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const arch = (await run('uname', ['-m'])).trim();
  const archive = await readFile(file(`/release/${release}/${arch}/gvisor.tar.bz2`));
  const { port } = server.address() as AddressInfo;
  const script = substituteSettings(
    guideBlocks('build')
      .join('\n')
      .replace(/^npm ci$/m, ''),
    {
      RELEASE: release,
      DIGEST: createHash('sha256').update(archive).digest('hex'),
      MIRROR: `http://127.0.0.1:${port}`,
    },
  );
  await run('/bin/sh', ['-euc', script], { cwd: REPO, timeoutMs: 120_000 }).finally(() => server.close());
  return join(REPO, 'dist/installer');
}

/** Runs the installer's blocks of the page in its directory on a node. Their containerd has no systemd unit. */
export async function followInstaller(node: ClusterNode, blocks: readonly string[]): Promise<string> {
  const restart = '/usr/local/bin/restart-containerd';
  await node.write(restart, `#!/bin/sh\n${RESTART}\n`, 0o755);
  const program = `./gvisor-ready-install --restart-command ${restart}`;
  const script = blocks.join('\n').replaceAll('./gvisor-ready-install', program);
  // Root's umask on a hardened host.
  const command = `umask 077; cd ${INSTALLER}; ${script}`;
  return node.machine.run(['/bin/sh', '-euc', command], { timeoutMs: 120_000 });
}

/** Runs blocks of the page as root on a node, and restarts containerd without systemctl. */
export async function followOn(
  node: ClusterNode,
  blocks: readonly string[],
  release: Release = '20260223.0',
): Promise<string> {
  const settings = { RELEASE: release, OLD: release, MIRROR: `file://${MIRROR}` };
  const commands = substituteSettings(blocks.join('\n'), settings);
  const printed: string[] = [];
  for (const [index, part] of commands.split(/^systemctl restart containerd$/m).entries()) {
    if (index > 0) await node.restart('containerd');
    printed.push(await node.machine.run(['/bin/sh', '-euc', part], { timeoutMs: 120_000 }));
  }
  return printed.join('');
}
