import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compareDrivers, parseNvidiaVersion } from '../agent/runsc/nvidia-drivers.ts';
import { REPO } from './paths.ts';
import { run, runMain } from './run.ts';

const TABLE = join(REPO, 'agent/runsc/nvidia-drivers.json');
/** https://github.com/google/gvisor/blob/release-20260817.0/pkg/sentry/devices/nvproxy/version.go */
const SOURCE = 'pkg/sentry/devices/nvproxy/version.go';
const DOWNLOAD_MS = 10 * 60_000;

/** Lists are separated by spaces: releases without "release-", drivers as gVisor prints them. */
type Drivers = { readonly supported: string; readonly unqualified: string };

/** gVisor releases that know the same drivers, and the version of its Go module with these. */
export type Row = { readonly module: string; readonly releases: string } & Drivers;

export async function readTable(): Promise<readonly Row[]> {
  return JSON.parse(await readFile(TABLE, 'utf8'));
}

/** gVisor registers drivers in this file. */
function parseDrivers(source: string): Drivers {
  const found = [...source.matchAll(/\badd(Unsupported)?DriverABI\((\d+), *(\d+), *(\d+),/g)].map(
    ([, isUnqualified, ...parts]) => ({ isUnqualified, version: parseNvidiaVersion(parts.join('.')) ?? '' }),
  );
  const listOf = (isUnqualified: boolean) =>
    found
      .filter((driver) => (driver.isUnqualified !== undefined) === isUnqualified)
      .map(({ version }) => version)
      .sort(compareDrivers)
      .join(' ');
  if (listOf(false) === '') throw new Error(`No call of addDriverABI in ${SOURCE}: has gVisor changed it?`);
  return { supported: listOf(false), unqualified: listOf(true) };
}

/** Downloads the module. */
export async function driversOfModule(version: string): Promise<Drivers> {
  const args = ['mod', 'download', '-json', `gvisor.dev/gvisor@${version}`];
  const { Dir } = JSON.parse(await run('go', args, { cwd: REPO, timeoutMs: DOWNLOAD_MS })) as { Dir: string };
  return parseDrivers(await readFile(join(Dir, SOURCE), 'utf8'));
}

/** One line for each release that contradicts the table, or cannot be compared. */
async function differencesIn(clone: string, rows: readonly Row[]): Promise<readonly string[]> {
  const lines = rows.flatMap(({ releases, ...row }) =>
    releases.split(' ').map(async (release) => {
      const text = await run('git', ['-C', clone, 'show', `release-${release}:${SOURCE}`]).catch(() => '');
      if (text === '') return [`release-${release}: no such tag in ${clone}`];
      const { supported, unqualified } = parseDrivers(text);
      const isSame = supported === row.supported && unqualified === row.unqualified;
      return isSame ? [] : [`release-${release} knows other drivers than ${row.module}`];
    }),
  );
  return (await Promise.all(lines)).flat();
}

async function main(): Promise<void> {
  const rows: Row[] = [];
  for (const { module, releases } of await readTable())
    rows.push({ module, releases, ...(await driversOfModule(module)) });
  await writeFile(TABLE, `${JSON.stringify(rows, null, 2)}\n`);
  const [clone] = process.argv.slice(2);
  const differences = clone === undefined ? [] : await differencesIn(clone, rows);
  if (differences.length > 0) throw new Error(differences.join('\n'));
}

if (import.meta.filename === process.argv[1]) await runMain(main);
