import { hash } from 'node:crypto';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { get, publishedSum } from '../../hack/download.ts';
import { run } from '../../hack/run.ts';
import { type ToolGroup, toolVersion } from './tool-groups.ts';

/** A program, or a compressed archive of programs. */
export type Download = {
  readonly url: string;
  /** SHA-256, or the URL where the project publishes its SHA-256 or SHA-512. */
  readonly sum: string;
  /** Paths in the archive by the names that a build gives the programs. */
  readonly programs: Readonly<Record<string, string>>;
};

type Machine = {
  /** As Go names the architecture. */
  readonly go: string;
  /** As the kernel names it. */
  readonly uname: string;
};

const MACHINES: Partial<Record<NodeJS.Architecture, Machine>> = {
  x64: { go: 'amd64', uname: 'x86_64' },
  arm64: { go: 'arm64', uname: 'aarch64' },
};

type Downloads = (number: string, machine: Machine) => readonly Download[];

const kubernetes =
  (...programs: readonly string[]): Downloads =>
  (number, { go }) =>
    programs.map((program) => {
      const url = `https://dl.k8s.io/release/v${number}/bin/linux/${go}/${program}`;
      return { url, sum: `${url}.sha256`, programs: { [program]: '' } };
    });

const containerd: Downloads = (number, { go }) => {
  const releases = 'https://github.com/containerd/containerd/releases/download';
  const url = `${releases}/v${number}/containerd-static-${number}-linux-${go}.tar.gz`;
  const programs = ['containerd', 'containerd-shim-runc-v2', 'ctr'].map((name) => [name, `bin/${name}`]);
  return [{ url, sum: `${url}.sha256sum`, programs: Object.fromEntries(programs) }];
};

const gvisor: Downloads = (number, { uname }) => {
  const release = `https://storage.googleapis.com/gvisor/releases/release/${number}/${uname}`;
  return Object.entries({ runsc: 'runsc', shim: 'containerd-shim-runsc-v1' }).map(([program, file]) => {
    return { url: `${release}/${file}`, sum: `${release}/${file}.sha512`, programs: { [program]: '' } };
  });
};

const etcd: Downloads = (number, { go }) => {
  const release = `https://github.com/etcd-io/etcd/releases/download/v${number}`;
  const archive = `etcd-v${number}-linux-${go}`;
  const programs = { etcd: `${archive}/etcd` };
  return [{ url: `${release}/${archive}.tar.gz`, sum: `${release}/SHA256SUMS`, programs }];
};

const cni: Downloads = (number, { go }) => {
  const release = `https://github.com/containernetworking/plugins/releases/download/v${number}`;
  const url = `${release}/cni-plugins-linux-${go}-v${number}.tgz`;
  const programs = { bridge: 'bridge', 'host-local': 'host-local', loopback: 'loopback' };
  return [{ url, sum: `${url}.sha256`, programs }];
};

const runc: Downloads = (number, { go }) => {
  const release = `https://github.com/opencontainers/runc/releases/download/v${number}`;
  return [{ url: `${release}/runc.${go}`, sum: `${release}/runc.sha256sum`, programs: { runc: '' } }];
};

/**
 * Groups with an official build that can replace ours. That of gvisor-2026-09 cannot: it has `gvisor-bin/`, for
 * which the tests have stand-ins.
 */
const BUILDS: Partial<Record<ToolGroup, Downloads>> = {
  kubernetes: kubernetes('kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl', 'kubelet'),
  kubeadm: kubernetes('kubeadm', 'kube-proxy'),
  containerd,
  'containerd-1.7': containerd,
  gvisor,
  'gvisor-2025': gvisor,
  etcd,
  cni,
  runc,
};

/**
 * SHA-256 of files, by the end of their URLs. Source:
 * https://github.com/kubernetes-sigs/kubespray/blob/master/roles/kubespray_defaults/vars/main/checksums.yml
 */
const PINNED: Readonly<Record<string, string>> = {
  'v3.6.8/etcd-v3.6.8-linux-amd64.tar.gz': 'cf9cfe91a4856cb90eed9c99e6aee4b708db2c7888b88a6f116281f04b0ea693',
  'v3.6.8/etcd-v3.6.8-linux-arm64.tar.gz': '438f56a700d17ce761510a3e63e6fa5c1d587b2dd4d7a22c179c09a649366760',
  'v1.3.4/runc.amd64': '5966ca40b6187b30e33bfc299c5f1fe72e8c1aa01cf3fefdadf391668f47f103',
  'v1.3.4/runc.arm64': 'd6dcab36d1b6af1b72c7f0662e5fcf446a291271ba6006532b95c4144e19d428',
  'v1.7.34/containerd-static-1.7.34-linux-amd64.tar.gz':
    '8e244782bbbbe39b2213b961f0939974e88b33f68bed13c6b51f8b4c4ab8ca47',
  'v1.7.34/containerd-static-1.7.34-linux-arm64.tar.gz':
    '4aa54ecace7a22bc9e5dccbf06de7a0d8ad79db02fb04b348191802c8880cbc7',
};

/** The version is that of a build; empty without an official one. */
export async function officialBuild(group: ToolGroup): Promise<readonly Download[]> {
  const machine = MACHINES[process.arch];
  const downloads = BUILDS[group];
  if (machine === undefined || downloads === undefined) return [];
  const number = (await toolVersion(group)).replace(/^(v|release-)/, '');
  return downloads(number, machine).map((file) => {
    const end = file.url.split('/').slice(-2).join('/');
    return { ...file, sum: PINNED[end] ?? file.sum };
  });
}

/** Otherwise the checksum counts that is published beside the file. */
export function isPinned({ sum }: Download): boolean {
  return !sum.includes('/');
}

/** Says beside the programs what each was checked against. */
const RECORD = 'DOWNLOADED';

/** Throws if a file cannot be had, or has another sum: what `bin` then has is not all. */
export async function download(files: readonly Download[], work: string, bin: string): Promise<void> {
  const unpacked = join(work, 'unpacked');
  const file = join(work, 'download');
  const records: string[] = [];
  for (const directory of [bin, unpacked]) await mkdir(directory, { recursive: true });
  for (const each of files) {
    const { url, sum, programs } = each;
    const expected = isPinned(each)
      ? sum
      : await get(sum, async (response) => publishedSum(await response.text(), basename(url)));
    if (expected === undefined) throw new Error(`${sum} has no checksum of ${basename(url)}`);
    const algorithm = expected.length === 128 ? 'sha512' : 'sha256';
    const content = await get(url, (response) => response.bytes());
    const seen = hash(algorithm, content);
    if (seen !== expected) throw new Error(`${url} has the ${algorithm} ${seen}, not ${expected}`);
    await writeFile(file, content);
    records.push(`${algorithm}:${expected} ${url} ${isPinned(each) ? 'pinned' : `published in ${sum}`}\n`);
    const isArchive = /\.(tar\.gz|tgz)$/.test(url);
    if (isArchive) await run('tar', ['-xzf', file, '--no-same-owner', '-C', unpacked]);
    for (const [program, path] of Object.entries(programs)) {
      await copyFile(isArchive ? join(unpacked, path) : file, join(bin, program));
      await chmod(join(bin, program), 0o755);
    }
  }
  await writeFile(join(bin, RECORD), records.join(''));
}
