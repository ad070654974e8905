import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { run, runAll } from '../hack/run.ts';
import type { ToolGroup } from './tool-groups.ts';

/** A file of a project's release page: a program, or an archive that holds programs at these paths. */
export type Download = {
  readonly url: string;
  readonly sha256: string;
  readonly programs: readonly string[];
};

/** Time until a server that cannot be reached counts as such. */
const CONNECT_S = 5;

/**
 * Official builds, where their checksums are known: those that Kubespray pins.
 * Source: https://github.com/kubernetes-sigs/kubespray/blob/master/roles/kubespray_defaults/vars/main/checksums.yml
 */
export const DOWNLOADS: Partial<Record<ToolGroup, Partial<Record<NodeJS.Architecture, Download>>>> = {
  etcd: {
    x64: {
      url: 'https://github.com/etcd-io/etcd/releases/download/v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz',
      sha256: 'cf9cfe91a4856cb90eed9c99e6aee4b708db2c7888b88a6f116281f04b0ea693',
      programs: ['etcd-v3.6.8-linux-amd64/etcd'],
    },
    arm64: {
      url: 'https://github.com/etcd-io/etcd/releases/download/v3.6.8/etcd-v3.6.8-linux-arm64.tar.gz',
      sha256: '438f56a700d17ce761510a3e63e6fa5c1d587b2dd4d7a22c179c09a649366760',
      programs: ['etcd-v3.6.8-linux-arm64/etcd'],
    },
  },
  runc: {
    x64: {
      url: 'https://github.com/opencontainers/runc/releases/download/v1.3.4/runc.amd64',
      sha256: '5966ca40b6187b30e33bfc299c5f1fe72e8c1aa01cf3fefdadf391668f47f103',
      programs: ['runc'],
    },
    arm64: {
      url: 'https://github.com/opencontainers/runc/releases/download/v1.3.4/runc.arm64',
      sha256: 'd6dcab36d1b6af1b72c7f0662e5fcf446a291271ba6006532b95c4144e19d428',
      programs: ['runc'],
    },
  },
  'containerd-1.7': {
    x64: {
      url: 'https://github.com/containerd/containerd/releases/download/v1.7.34/containerd-static-1.7.34-linux-amd64.tar.gz',
      sha256: '8e244782bbbbe39b2213b961f0939974e88b33f68bed13c6b51f8b4c4ab8ca47',
      programs: ['bin/containerd', 'bin/containerd-shim-runc-v2', 'bin/ctr'],
    },
    arm64: {
      url: 'https://github.com/containerd/containerd/releases/download/v1.7.34/containerd-static-1.7.34-linux-arm64.tar.gz',
      sha256: '4aa54ecace7a22bc9e5dccbf06de7a0d8ad79db02fb04b348191802c8880cbc7',
      programs: ['bin/containerd', 'bin/containerd-shim-runc-v2', 'bin/ctr'],
    },
  },
};

/**
 * Downloads programs to `bin`, using `work` for temporary files. Returns false if the server cannot be reached or has no such
 * file. Throws if the file is another one than pinned.
 */
export async function download(
  { url, sha256, programs }: Download,
  work: string,
  bin: string,
): Promise<boolean> {
  const file = join(work, 'download');
  // A transfer below 10 KiB/s for 20 s counts as hung.
  const slow = ['--speed-limit', '10240', '--speed-time', '20'];
  const options = ['--fail', '--silent', '--location', '--connect-timeout', String(CONNECT_S), ...slow];
  const fetched = await runAll('curl', [...options, '--output', file, url], {
    timeoutMs: 10 * 60_000,
    killOnExit: true,
  }).catch(() => undefined); // curl is missing, or the download hangs
  if (fetched?.code !== 0) return false;
  const seen = createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
  if (seen !== sha256) throw new Error(`${url} has the SHA-256 ${seen}, not ${sha256}`);
  await mkdir(bin, { recursive: true });
  const isArchive = url.endsWith('.tar.gz');
  if (isArchive) await run('tar', ['-xzf', file, '-C', work, ...programs]);
  for (const program of programs) {
    const target = join(bin, basename(program));
    await copyFile(isArchive ? join(work, program) : file, target);
    await chmod(target, 0o755);
  }
  return true;
}
