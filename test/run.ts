import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, globSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureImage } from '../cluster/images.ts';
import { ensurePrerequisites } from '../cluster/prerequisites.ts';
import { OTHER_KUBERNETES, TOOL_GROUPS } from '../cluster/tool-groups.ts';
import { ensureTools } from '../cluster/tools.ts';
import { ensureVmImage } from '../cluster/vm-image.ts';
import { REPO } from '../hack/paths.ts';
import { UsageError, waitFor } from '../hack/run.ts';
import { allowInotify } from './inotify.ts';
import { removeLaneClusters } from './lane.ts';
import type { Tally } from './reporter.ts';
import { summaryLines, surroundings, type TierResult } from './summary.ts';

/**
 * The tiers, and how many of their files run at a time. All but `unit` need root, the built tools and images; files that
 * run side by side have clusters of their own. The integration tier tries three nodes at once as it is, and unit tests
 * wait about as long as they compute. No tier is left out because something is missing: that is a failure.
 */
const TIERS = {
  unit: {
    files: [
      'test/agent/**/*.test.ts',
      'test/cluster/**/*.test.ts',
      'test/fleet/**/*.test.ts',
      'test/hack/**/*.test.ts',
      'test/kubectl/**/*.test.ts',
      'test/docs/**/*.test.ts',
      'test/dispatcher/**/*.test.ts',
    ],
    lanes: 4,
  },
  integration: { files: ['test/integration/**/*.test.ts'], lanes: 1 },
  e2e: { files: ['test/e2e/**/*.test.ts'], lanes: 3 },
  waits: { files: ['test/waits/**/*.test.ts'], lanes: 2 },
  vm: { files: ['test/load/**/*.test.ts', 'test/vm/**/*.test.ts'], lanes: 1 },
} as const;
type Tier = keyof typeof TIERS;

/**
 * The order: stages follow each other, the tracks of a stage run side by side, and a track's tiers follow each other. What
 * mostly waits, for an alert to fire or a node to be lost, runs beside what works. What wants the whole machine, a load or
 * a virtual machine, runs alone at the end.
 */
const STAGES: readonly (readonly (readonly Tier[])[])[] = [
  [['unit']],
  [['integration', 'e2e'], ['waits']],
  [['vm']],
];

/**
 * What depends on the version of Kubernetes (policies, publishers, manifests), on each of the other versions that are
 * supported. Not part of the default run: each version is a build of some minutes.
 */
const VERSIONS = [
  'test/integration/*-writes.test.ts',
  'test/e2e/admission*.test.ts',
  'test/e2e/manifests.test.ts',
  'test/e2e/node-*.test.ts',
  'test/e2e/taint.test.ts',
  'test/e2e/pods.test.ts',
];

/** No test takes a third of this; one that hangs must not hang the run. */
const MOST_MS = 1_800_000;

/** Ends the files that run, and with them the clusters that they have started. */
const stop = new AbortController();

process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const known = [...Object.keys(TIERS), 'versions'];
  const wrong = words.filter((word) => !known.includes(word));
  if (wrong.length > 0) {
    console.error(`No tier "${wrong.join('", "')}": there are ${known.join(', ')}.`);
    return 2;
  }
  const tiers = words.length > 0 ? words : Object.keys(TIERS);
  const real = tiers.some((tier) => tier !== 'unit');
  let restore = async () => {};
  try {
    if (real) {
      await prepare(tiers.includes('vm'));
      restore = await allowInotify();
    }
    // Only now: a build ends with this process.
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stop.abort());
    if (real) await removeLaneClusters();
    const versions = words.includes('versions') ? OTHER_KUBERNETES : [];
    const stages: readonly (readonly (readonly Run[])[])[] = [
      ...STAGES.map((tracks) =>
        tracks.map((track) => track.filter((tier) => tiers.includes(tier)).map(runOf)),
      ),
      ...versions.map((version) => [[ofVersion(version)]]),
    ].map((tracks) => tracks.filter((track) => track.length > 0));
    const ranOn = await surroundings(real, tiers.includes('vm'));
    const results: TierResult[] = [];
    for (const stage of stages) {
      // Two tracks do not write into each other's lines: what runs beside the first is shown when it has ended.
      const tracks = stage.map((track, at) => runTrack(track, at > 0));
      results.push(...(await Promise.all(tracks)).flat());
      if (real) await removeLaneClusters();
    }
    console.log(`\n${summaryLines(ranOn, results).join('\n')}`);
    return results.every(({ passed }) => passed) ? 0 : 1;
  } catch (error) {
    if (stop.signal.aborted) return 130;
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    return 2;
  } finally {
    // A file that was ended may hold its cluster a moment longer than the process that ran it.
    const removed = async () => {
      await removeLaneClusters();
      return true;
    };
    if (real) await waitFor('the clusters of the tests to be removed', 15_000, removed);
    await restore();
  }
}

async function prepare(forVms: boolean): Promise<void> {
  await ensurePrerequisites({ forTests: true, forVms });
  if (forVms) await ensureVmImage();
  await ensureTools(TOOL_GROUPS);
  for (const id of ['pause', 'workload', 'agent'] as const) await ensureImage(id);
}

/** Test files that run together: under which name, how many at a time, and with what added to the environment. */
type Run = {
  readonly name: string;
  readonly files: readonly string[];
  readonly lanes: number;
  readonly env?: Readonly<Record<string, string>>;
};

function runOf(tier: Tier): Run {
  return { name: tier, ...TIERS[tier] };
}

function ofVersion(version: string): Run {
  const env = { KUBERNETES_VERSION: version };
  return { name: `Kubernetes ${version}`, files: VERSIONS, lanes: 1, env };
}

/** Runs that follow each other; `held`: their output is shown when each has ended. */
async function runTrack(track: readonly Run[], held: boolean): Promise<TierResult[]> {
  const results: TierResult[] = [];
  for (const run of track) {
    const folder = mkdtempSync(join(tmpdir(), 'tally-'));
    try {
      results.push(await runFiles(folder, run, held));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  return results;
}

/** `folder` is for what the files tell beside their exit code. */
async function runFiles(
  folder: string,
  { name, files, lanes, env }: Run,
  held: boolean,
): Promise<TierResult> {
  const found = files.flatMap((pattern) => globSync(pattern, { cwd: REPO })).sort();
  if (found.length === 0) throw new Error(`"${name}" has no test files`);
  console.log(`\n── ${name}: ${found.length} files ──`);
  const started = Date.now();
  const file = join(folder, 'tally.json');
  const reporters = [
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...['--test-reporter=./test/reporter.ts', `--test-reporter-destination=${file}`],
  ];
  const limits = [`--test-concurrency=${lanes}`, `--test-timeout=${MOST_MS}`];
  const args = ['--import', 'tsx', '--test', ...limits, ...reporters, ...found];
  const output = join(folder, 'output');
  const stdout = held ? openSync(output, 'w') : 'inherit';
  const child = spawn(process.execPath, args, {
    cwd: REPO,
    stdio: ['inherit', stdout, 'inherit'],
    env: { ...process.env, KEEP_E2E_CLUSTER: '1', PATIENCE: name === 'unit' ? '1' : '3', ...env },
  });
  stop.signal.addEventListener('abort', () => child.kill());
  const [code] = (await once(child, 'exit')) as [number | null];
  stop.signal.throwIfAborted();
  if (typeof stdout === 'number') {
    closeSync(stdout);
    process.stdout.write(readFileSync(output));
  }
  const passed = code === 0;
  const seconds = Math.round((Date.now() - started) / 1000);
  console.log(`── ${name}: ${passed ? 'passed' : 'FAILED'}, ${seconds} s ──`);
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  return { name, passed, seconds, tally: text === '' ? undefined : (JSON.parse(text) as Tally) };
}
