import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { get, publishedSum } from '../hack/download.ts';
import { run } from '../hack/run.ts';
import { type ToolGroup, versionOf } from './tool-groups.ts';

/** A program, or a compressed archive of programs. */
export type Download = {
  readonly url: string;
  /** SHA-256, or the URL where the project publishes its SHA-256 or SHA-512. */
  readonly sum: string;
  /** Paths in the archive by the names that a build gives the programs. */
  readonly programs: Readonly<Record<string, string>>;
};

/** As Go and as the kernel name it. */
type Machine = { readonly go: string; readonly uname: string };

const MACHINES: Partial<Record<NodeJS.Architecture, Machine>> = {
  x64: { go: 'amd64', uname: 'x86_64' },
  arm64: { go: 'arm64', uname: 'aarch64' },
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

/** A file of a release on GitHub; the file `sums` beside it has its checksum. */
function released(repository: string, version: string, file: string, sums = `${file}.sha256`) {
  const release = `https://github.com/${repository}/releases/download/${version}`;
  return { url: `${release}/${file}`, sum: PINNED[`${version}/${file}`] ?? `${release}/${sums}` };
}

function containerd(version: string, { go }: Machine): readonly Download[] {
  const file = `containerd-static-${version.slice(1)}-linux-${go}.tar.gz`;
  const names = ['containerd', 'containerd-shim-runc-v2', 'ctr'];
  const programs = Object.fromEntries(names.map((name) => [name, `bin/${name}`]));
  return [{ ...released('containerd/containerd', version, file, `${file}.sha256sum`), programs }];
}

function kubernetes(...names: readonly string[]) {
  return (version: string, { go }: Machine): readonly Download[] =>
    names.map((name) => {
      const url = `https://dl.k8s.io/release/${version}/bin/linux/${go}/${name}`;
      return { url, sum: `${url}.sha256`, programs: { [name]: '' } };
    });
}

function gvisor(version: string, { uname }: Machine): readonly Download[] {
  const release = `https://storage.googleapis.com/gvisor/releases/${version.replace('-', '/')}/${uname}`;
  return Object.entries({ runsc: 'runsc', shim: 'containerd-shim-runsc-v1' }).map(([name, file]) => ({
    ...{ url: `${release}/${file}`, sum: `${release}/${file}.sha512` },
    programs: { [name]: '' },
  }));
}

/**
 * Groups with an official build that can replace ours. That of gvisor-2026-09 cannot: it has `gvisor-bin/`, for
 * which the tests have stand-ins.
 */
const OFFICIAL: Partial<Record<ToolGroup, (version: string, machine: Machine) => readonly Download[]>> = {
  kubernetes: kubernetes('kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl', 'kubelet'),
  kubeadm: kubernetes('kubeadm', 'kube-proxy'),
  containerd,
  'containerd-1.7': containerd,
  gvisor,
  'gvisor-2025': gvisor,
  etcd: (version, { go }) => {
    const name = `etcd-${version}-linux-${go}`;
    const file = released('etcd-io/etcd', version, `${name}.tar.gz`, 'SHA256SUMS');
    return [{ ...file, programs: { etcd: `${name}/etcd` } }];
  },
  cni: (version, { go }) => {
    const programs = { bridge: 'bridge', 'host-local': 'host-local', loopback: 'loopback' };
    return [
      {
        ...released('containernetworking/plugins', version, `cni-plugins-linux-${go}-${version}.tgz`),
        programs,
      },
    ];
  },
  runc: (version, { go }) => [
    {
      ...released('opencontainers/runc', `v${version}`, `runc.${go}`, 'runc.sha256sum'),
      programs: { runc: '' },
    },
  ],
};

/** The version is that of a build; empty without an official one. */
export async function officialBuild(group: ToolGroup): Promise<readonly Download[]> {
  const machine = MACHINES[process.arch];
  if (machine === undefined) return [];
  return OFFICIAL[group]?.(await versionOf(group), machine) ?? [];
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
    const seen = await get(url, ({ body }) => save(body ?? Readable.from([]), file, algorithm));
    if (seen !== expected) throw new Error(`${url} has the ${algorithm} ${seen}, not ${expected}`);
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

/** Returns the digest of what it has written. */
async function save(body: AsyncIterable<Uint8Array>, file: string, algorithm: string): Promise<string> {
  const hash = createHash(algorithm);
  const hashed = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(body, hashed, createWriteStream(file));
  return hash.digest('hex');
}
