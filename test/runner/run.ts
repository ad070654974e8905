import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { ensureImage } from '../../cluster/tools/images.ts';
import { ensurePrerequisites } from '../../cluster/tools/prerequisites.ts';
import { OTHER_KUBERNETES } from '../../cluster/tools/tool-groups.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { ensureVmImage } from '../../cluster/tools/vm-image.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { print } from '../../hack/progress.ts';
import { UsageError } from '../../hack/run.ts';
import { Display } from './display.ts';
import { estimateSeconds, History, historyFile, type Seconds } from './history.ts';
import { raiseInotifyLimit } from './inotify.ts';
import { removeLaneClusters } from './lane.ts';
import { inOrder } from './order.ts';
import { HELP, type Plan, type PlanStep, planOf, tiersLeftOut } from './plan.ts';
import { type FileResult, runFile, runProgram } from './run-file.ts';
import { environmentRows, MAX_SECOND_TRIES, summaryLines, type TierResult } from './summary.ts';
import { programsOf, TIERS, type Tier, type TierName, versionFiles } from './tiers.ts';

/** The factor of timeouts on an idle machine. */
const PATIENCE = 3;
const RECORDED = join(REPO, 'test/runner/seconds.json');
/** How often each file passed only at its second try, in all runs with `--record`. */
const SECOND_TRIES = join(REPO, 'test/runner/second-tries.json');
/** Halves the time that a file takes to load. */
const NODE_COMPILE_CACHE = join(CACHE, 'compiled');
/** Less garbage collection: kubectl takes two thirds of the processor time, promtool three quarters. */
const GOGC = '400';
/** Until a tier says that it waits for its programs. */
const WAIT_NOTICE_MS = 3_000;
const history = new History(historyFile(CACHE, REPO), JSON.parse(readFileSync(RECORDED, 'utf8')) as Seconds);
const display = new Display();
/** Ends the test files and, with this process, the builds. */
const stop = new AbortController();

process.exit(
  await main(process.argv.slice(2)).catch((error: unknown) => {
    if (stop.signal.aborted) return 130;
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    return 2;
  }),
);

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    print(HELP);
    return 0;
  }
  // npm runs scripts in the root of the package, and passes the directory where it was called.
  const directory = process.env.INIT_CWD ?? process.cwd();
  const words = args.filter((arg) => arg !== '--record');
  const plan = planOf(words, { root: REPO, directory, failed: history.failed });
  if (plan.length === 0) {
    print('No file failed in the last run.');
    return 0;
  }
  const minutes = Math.ceil(secondsOf(plan) / 60);
  print(`about ${minutes} min by the durations of earlier runs, plus builds`);
  const clusters = plan.flat(2).some(({ name }) => tierOf(name)?.clusters ?? true);
  const vms = plan.flat(2).some(({ name }) => name === 'vm');
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stop.abort());
  if (process.env.JUNIT !== undefined) mkdirSync(process.env.JUNIT, { recursive: true });
  const restoreLimit = clusters ? await raiseInotifyLimit() : async () => {};
  const results: TierResult[] = [];
  try {
    if (clusters) await removeLaneClusters();
    const prepared = prepareAll(plan);
    for (const stage of plan) {
      const tracks = await Promise.allSettled(stage.map((track) => runTrack(track, prepared)));
      for (const track of tracks) {
        if (track.status === 'rejected') throw track.reason;
        results.push(...track.value);
      }
      if (results.some(({ passed }) => !passed)) break;
    }
  } finally {
    if (clusters) await removeLaneClusters();
    await restoreLimit();
  }
  if (args.includes('--record')) {
    writeFileSync(RECORDED, `${JSON.stringify(recorded(results), null, 2)}\n`);
    writeFileSync(SECOND_TRIES, `${JSON.stringify(withSecondTries(results), null, 2)}\n`);
  }
  const environment = await environmentRows(clusters, vms);
  const notRun = [...tiersLeftOut(plan), ...stepsNotRun(plan, results)];
  print(`\n${summaryLines(environment, results, notRun).join('\n')}`);
  return results.every(({ passed }) => passed) ? 0 : 1;
}

/** The recorded durations of all files that exist, with those of this run. Short ones change neither order nor estimate. */
function recorded(results: readonly TierResult[]): Seconds {
  const seconds = { ...(JSON.parse(readFileSync(RECORDED, 'utf8')) as Seconds) };
  const files = new Set([
    ...Object.keys(seconds),
    ...results.flatMap((tier) => tier.files.map(({ file }) => file)),
  ]);
  const existing = [...files].filter((file) => existsSync(join(REPO, file))).sort();
  return Object.fromEntries(
    existing.map((file) => [file, history.seconds[file] ?? 0] as const).filter(([, each]) => each > 5),
  );
}

/** The recorded second tries, with those of this run. */
function withSecondTries(results: readonly TierResult[]): Readonly<Record<string, number>> {
  const tries = JSON.parse(readFileSync(SECOND_TRIES, 'utf8')) as Record<string, number>;
  for (const file of results.flatMap(({ secondTries }) => secondTries)) tries[file] = (tries[file] ?? 0) + 1;
  return Object.fromEntries(Object.entries(tries).sort());
}

/** The tier of that name; undefined for a step that is no tier. */
function tierOf(name: string): Tier | undefined {
  return (TIERS as Readonly<Record<string, Tier>>)[name];
}

function secondsOf(plan: Plan): number {
  const ofStep = ({ name, files }: PlanStep) =>
    estimateSeconds(files, tierOf(name)?.concurrency ?? 1, history.seconds);
  const ofTrack = (track: readonly PlanStep[]) => track.reduce((sum, step) => sum + ofStep(step), 0);
  return plan.reduce((sum, tracks) => sum + Math.max(...tracks.map(ofTrack)), 0);
}

/** Steps of the plan behind a stage that failed. */
function stepsNotRun(plan: Plan, results: readonly TierResult[]): readonly string[] {
  if (results.every(({ passed }) => passed)) return [];
  return plan
    .flat(2)
    .map(({ name }) => name)
    .filter((name) => !results.some((result) => result.name.startsWith(name)));
}

/** Builds what each step needs, one after the other while tests run; a step waits for its own. */
function prepareAll(plan: Plan): ReadonlyMap<PlanStep, Promise<void>> {
  let last: Promise<void> = Promise.resolve();
  const prepared = new Map<PlanStep, Promise<void>>();
  for (const step of plan.flat(2)) {
    if (tierOf(step.name)?.clusters === false) continue;
    last = last.then(() => prepare(step));
    last.catch(() => {}); // thrown where the step waits for it
    prepared.set(step, last);
  }
  return prepared;
}

/** Installs and builds the prerequisites of a step. */
async function prepare({ name, files }: PlanStep): Promise<void> {
  const tier = tierOf(name);
  await ensurePrerequisites('tests', ...(tier?.needs ?? []));
  if (tier !== undefined) await ensureTools(files.flatMap((file) => programsOf(tier, file)));
  for (const id of tier?.images ?? []) await ensureImage(id);
  if (name === 'vm') await ensureVmImage();
}

async function runTrack(
  track: readonly PlanStep[],
  prepared: ReadonlyMap<PlanStep, Promise<void>>,
): Promise<TierResult[]> {
  const results: TierResult[] = [];
  for (const step of track) {
    const { name, files } = step;
    const notice = setTimeout(() => display.waits(name), WAIT_NOTICE_MS);
    await Promise.race([prepared.get(step), stopped()]).finally(() => clearTimeout(notice));
    const tier = tierOf(name);
    if (tier !== undefined) results.push(await runTier(name, tier, files));
    else if (name === 'mutations') results.push(await runMutations());
    else for (const version of OTHER_KUBERNETES) results.push(await runVersion(version));
    stop.signal.throwIfAborted();
  }
  return results;
}

function stopped(): Promise<never> {
  return new Promise((_, reject) => {
    stop.signal.addEventListener('abort', () => reject(stop.signal.reason), { once: true });
  });
}

/** Runs the files of a tier, and those that failed once more. */
async function runTier(
  name: string,
  tier: Tier,
  files: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<TierResult> {
  const begun = performance.now();
  display.begin(name, files);
  const firstTries = await runFiles(name, tier, inOrder(files, history.seconds), env);
  const failed = firstTries.filter(({ passed }) => !passed).map(({ file }) => file);
  const secondTries = new Map<string, FileResult>();
  if (failed.length > 0 && failed.length <= MAX_SECOND_TRIES) {
    if (tier.clusters) await removeLaneClusters();
    for (const result of await runFiles(name, tier, failed, env, true))
      if (result.passed) secondTries.set(result.file, result);
  }
  if (tier.clusters) await removeLaneClusters();
  const results = firstTries.map((result) => secondTries.get(result.file) ?? result);
  return endOf({ name, files: results, secondTries: [...secondTries.keys()] }, begun);
}

async function runFiles(
  name: string,
  tier: Tier,
  files: readonly string[],
  env: Readonly<Record<string, string>>,
  secondTry = false,
): Promise<FileResult[]> {
  const { concurrency, testTimeoutMs, fileTimeoutMs } = tier;
  const waiting = [...files];
  const results: FileResult[] = [];
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const patience = patienceNow();
      const scale = patience / PATIENCE;
      const settings = {
        PATIENCE: String(patience),
        PREPARED_TOOLS: programsOf(tier, file).join(','),
        KEEP_E2E_CLUSTER: '1',
      };
      const result = await runFile(file, {
        testTimeoutMs: testTimeoutMs * scale,
        fileTimeoutMs: fileTimeoutMs * scale,
        env: { NODE_COMPILE_CACHE, GOGC, ...settings, ...env },
        signal: stop.signal,
        junit: process.env.JUNIT && join(process.env.JUNIT, reportOf(file, secondTry)),
      });
      stop.signal.throwIfAborted();
      results.push(result);
      history.add(file, result);
      display.end(name, result, secondTry);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return results;
}

/** A second try keeps the report of the first. */
function reportOf(file: string, secondTry: boolean): string {
  return `${file.replaceAll('/', '-')}${secondTry ? '-2nd-try' : ''}.xml`;
}

/** The factor of all timeouts: several files run at a time, and other work may load the machine far more. */
function patienceNow(): number {
  const [load = 0] = loadavg();
  return Math.max(PATIENCE, Math.ceil(load / availableParallelism()));
}

/** Runs the files that depend on Kubernetes with another version of it. */
async function runVersion(version: string): Promise<TierResult> {
  process.env.KUBERNETES_VERSION = version;
  try {
    await ensureTools(['kubernetes']);
  } finally {
    delete process.env.KUBERNETES_VERSION;
  }
  const tier = { ...TIERS['e2e' satisfies TierName], concurrency: 1 };
  return runTier(`versions ${version}`, tier, versionFiles(REPO), { KUBERNETES_VERSION: version });
}

async function runMutations(): Promise<TierResult> {
  const begun = performance.now();
  display.begin('mutations', ['test/mutate/run.ts']);
  const options = { env: { PATIENCE: String(PATIENCE) }, signal: stop.signal };
  const result = await runProgram('test/mutate/run.ts', ['test/mutate/run.ts'], options);
  display.end('mutations', result, false);
  return endOf({ name: 'mutations', files: [result], secondTries: [] }, begun);
}

function endOf(result: Omit<TierResult, 'passed' | 'seconds'>, begun: number): TierResult {
  const passed = result.files.every((file) => file.passed);
  const ended = { ...result, passed, seconds: Math.round((performance.now() - begun) / 1000) };
  display.endTier(ended);
  return ended;
}
