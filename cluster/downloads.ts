import { hash } from 'node:crypto';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { get, publishedSum } from '../hack/download.ts';
import { run } from '../hack/run.ts';
import DOWNLOADS from './downloads.json' with { type: 'json' };
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
const MACHINES: Partial<Record<NodeJS.Architecture, Readonly<Record<string, string>>>> = {
  x64: { go: 'amd64', uname: 'x86_64' },
  arm64: { go: 'arm64', uname: 'aarch64' },
};

/**
 * Groups with an official build that can replace ours. That of gvisor-2026-09 cannot: it has `gvisor-bin/`, for
 * which the tests have stand-ins.
 */
const BUILDS: Partial<Record<ToolGroup, readonly Download[]>> = DOWNLOADS.builds;

/**
 * SHA-256 of files, by the end of their URLs. Source:
 * https://github.com/kubernetes-sigs/kubespray/blob/master/roles/kubespray_defaults/vars/main/checksums.yml
 */
const PINNED: Readonly<Record<string, string>> = DOWNLOADS.pinned;

/** The version is that of a build; empty without an official one. */
export async function officialBuild(group: ToolGroup): Promise<readonly Download[]> {
  const machine = MACHINES[process.arch];
  if (machine === undefined || BUILDS[group] === undefined) return [];
  const number = (await versionOf(group)).replace(/^(v|release-)/, '');
  const names: Readonly<Record<string, string>> = { number, ...machine };
  const text = JSON.stringify(BUILDS[group]).replace(/\{(\w+)\}/g, (whole, name) => names[name] ?? whole);
  return (JSON.parse(text) as readonly Download[]).map((file) => {
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
