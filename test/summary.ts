import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { arch, cpus, release, type } from 'node:os';
import { formatTable } from '../cluster/table.ts';
import { versionOf } from '../cluster/tool-groups.ts';
import { ensureVmImage, SUITE } from '../cluster/vm-image.ts';
import type { Tally } from './reporter.ts';

/** What became of one tier: how long it took, and what its tests say; no tally when they did not come to their end. */
export type TierResult = {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly tally: Tally | undefined;
};

/** What tests ran on: one row for this machine, and others for a cluster and for virtual machines where tests had those. */
export async function surroundings(real: boolean, vms: boolean): Promise<string[][]> {
  const machine = `${type()} ${release()} ${arch()}, ${cpus().length} cores, cgroup ${cgroupVersion()}, Node ${process.version}`;
  const rows = [['machine', machine]];
  if (real) {
    const containerd = [await versionOf('containerd'), await versionOf('containerd-1.7')];
    const gvisor = [
      await versionOf('gvisor'),
      await versionOf('gvisor-2025'),
      await versionOf('gvisor-2026-09'),
    ];
    rows.push([
      'cluster',
      `Kubernetes ${await versionOf('kubernetes')}, containerd ${containerd.join(' and ')}`,
    ]);
    rows.push(['gVisor', gvisor.join(', ')]);
  }
  if (vms) {
    const { kernel } = await ensureVmImage();
    rows.push(['vm', `Debian ${SUITE}, Linux ${await kernelVersion(kernel)}, cgroup v2, systemd`]);
  }
  return rows;
}

/** The last lines of a run: what it ran on, each tier, what failed. */
export function summaryLines(
  ranOn: readonly (readonly string[])[],
  results: readonly TierResult[],
): string[] {
  const tiers = results.map(({ name, passed, seconds, tally }) => [
    name,
    `${passed ? 'passed' : 'FAILED'}, ${tally?.tests ?? 'unknown number of'} tests, ${seconds} s`,
  ]);
  const failed = results.filter(({ passed }) => !passed);
  const files = failed.flatMap(({ tally }) => tally?.failed ?? []);
  return [
    ...formatTable([...ranOn, ...tiers]).split('\n'),
    failed.length === 0
      ? `All of ${results.map(({ name }) => name).join(', ')} passed.`
      : `Failed: ${failed.map(({ name }) => name).join(', ')}.`,
    ...files.map((file) => `  ${file}`),
  ];
}

function cgroupVersion(): string {
  return existsSync('/sys/fs/cgroup/cgroup.controllers') ? 'v2' : 'v1';
}

/** The version in the header of a kernel for x86. https://docs.kernel.org/arch/x86/boot.html (kernel_version) */
async function kernelVersion(file: string): Promise<string> {
  await using handle = await open(file);
  const { buffer } = await handle.read(Buffer.alloc(0x8000), 0, 0x8000, 0);
  const at = buffer.readUInt16LE(0x20e) + 0x200;
  return buffer.toString('latin1', at, at + 80).split(' ', 1)[0] ?? '';
}
