import { existsSync } from 'node:fs';
import { arch, cpus, release, type } from 'node:os';
import { toolVersion } from '../../cluster/tools/tool-groups.ts';
import { SUITE } from '../../cluster/tools/vm-image.ts';
import { formatTable } from '../../hack/table.ts';
import type { FileResult } from './run-file.ts';

/** The outcome of one tier. `secondTries` are files that failed and then passed. */
export type TierResult = {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly files: readonly FileResult[];
  readonly secondTries: readonly string[];
};

/** Files are retried only if at most this many failed. */
export const MAX_SECOND_TRIES = 2;

/** Rows about the machine, and about clusters and virtual machines if the run used them. */
export async function environmentRows(clusters: boolean, vms: boolean): Promise<string[][]> {
  const machine = `${type()} ${release()} ${arch()}, ${cpus().length} cores (${cpus()[0]?.model}), cgroup ${cgroupVersion()}, Node ${process.version}`;
  const rows = [['machine', machine]];
  if (clusters) {
    const versions = async (...groups: Parameters<typeof toolVersion>[0][]) =>
      (await Promise.all(groups.map((group) => toolVersion(group)))).join(', ');
    const containerd = await versions('containerd', 'containerd-1.7');
    const gvisor = await versions('gvisor', 'gvisor-2025', 'gvisor-2026-09');
    rows.push(['cluster', `Kubernetes ${await toolVersion('kubernetes')}, containerd ${containerd}`]);
    rows.push(['gVisor', gvisor]);
  }
  if (vms) rows.push(['vm', `Debian ${SUITE}, cgroup v2, systemd`]);
  return rows;
}

/** The last lines of a run: environment, tiers, skipped tests, tiers not run, failed files. */
export function summaryLines(
  environment: readonly (readonly string[])[],
  results: readonly TierResult[],
  notRun: readonly string[] = [],
): string[] {
  const files = results.flatMap((result) => result.files);
  const failed = results.filter(({ passed }) => !passed).map(({ name }) => name);
  const secondTries = results.flatMap((result) => result.secondTries);
  const skipped = files.flatMap(({ file, skipped }) => skipped.map((name) => `${file} (${name})`));
  return [
    ...formatTable([...environment, ...results.map(rowOf)]).split('\n'),
    ...(skipped.length > 0 ? [`Skipped: ${skipped.join(', ')}`] : []),
    ...(notRun.length > 0 ? [`Not run: ${notRun.join(', ')}`] : []),
    ...secondTries.map((file) => `Passed at the 2nd try: ${file}`),
    failed.length === 0
      ? `Passed: ${results.map(({ name }) => name).join(', ')}`
      : `FAILED: ${failed.join(', ')}`,
    ...files.filter(({ passed }) => !passed).map(({ file }) => `  ${file}`),
  ];
}

function rowOf({ name, passed, seconds, files }: TierResult): string[] {
  const tests = files.reduce((total, file) => total + file.tests, 0);
  const skipped = files.reduce((total, file) => total + file.skipped.length, 0);
  const counts = `${files.length} files, ${tests} tests${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  return [name, `${passed ? 'passed' : 'FAILED'}, ${counts}, ${seconds} s`];
}

function cgroupVersion(): string {
  return existsSync('/sys/fs/cgroup/cgroup.controllers') ? 'v2' : 'v1';
}
