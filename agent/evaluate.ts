import { posix } from 'node:path';
import { CheckInputs, type Sources } from './checks/check.ts';
import { CAUSES, EVIDENCE, runChecks } from './checks/checks.ts';
import type { Facts, Finding } from './finding.ts';
import type { Host } from './host/host.ts';
import { readPressure } from './host/pressure.ts';
import { inconclusive, type Outcome, type Unproven } from './proof/outcome.ts';
import type { Reason } from './reasons.ts';
import { DEFAULT_PLATFORM, DEFAULT_RUNSC_CONFIG } from './runsc/config.ts';
import { shimOf } from './runsc/program.ts';
import type { Trigger } from './trigger/event-queue.ts';
import { isCause, judge, UNEXPLAINED, type Verdict } from './verdict.ts';

/** One whole look at the node. `watch` are the host paths whose change should lead to another. */
export type Evaluation = {
  readonly verdict: Verdict;
  /** When what decides was seen, milliseconds of the monotonic clock: the checks begin a look, the proof ends it. */
  readonly seenMs: number;
  readonly findings: readonly Finding[];
  /** The very object of an earlier look where that proof stands. */
  readonly proof: Outcome;
  readonly facts: Facts;
  readonly watch: readonly string[];
};

/** What a look needs: the sources, the proof as functions, and a monotonic clock in milliseconds. */
export type EvaluateOptions = {
  readonly sources: Sources;
  readonly prove: (signal: AbortSignal) => Promise<Outcome>;
  /** Compares a failure that nothing explains with a sandbox of runc. */
  readonly compare: (failed: Unproven, signal: AbortSignal) => Promise<Outcome>;
  readonly now: () => number;
  /** The last proof, if it is recent enough to stand. */
  readonly last?: Outcome | undefined;
  /** What happened after the last proof. */
  readonly triggers?: readonly Trigger[];
};

/**
 * Runs the checks of causes beside the proof, then the checks of what it showed, and judges. A containerd that left one
 * question unanswered is asked no other, so that a look of one that hangs costs one deadline. Rejects only when the
 * signal is aborted.
 */
export async function evaluate(options: EvaluateOptions, signal: AbortSignal): Promise<Evaluation> {
  const { sources, now } = options;
  const first = new CheckInputs(sources, signal);
  let checkedMs = now();
  const [before, proved] = await checkAndProve(options, first, signal);
  signal.throwIfAborted();
  const witness = proved.kind === 'proven' ? proved.witness : undefined;
  // A cause that came only after the checks had looked, in the middle of the proof, is seen by looking again.
  const isUnexplained = (proved.kind === 'failed' || proved.kind === 'stuck') && !before.some(isCause);
  // So is what lies beside a shim whose folder only this proof has told.
  const { shim = sources.shim } = witness ?? {};
  const again = isUnexplained || (shim !== undefined && !first.directories.includes(posix.dirname(shim)));
  const reading = again ? new CheckInputs({ ...sources, shim }, signal) : first;
  if (again) checkedMs = now();
  const causes = again ? await runChecks(CAUSES, reading, { now, signal }) : before;
  const isNodeSuspect =
    proved.kind === 'failed' && UNEXPLAINED.includes(proved.reason) && !causes.some(isCause);
  const proof = isNodeSuspect ? await options.compare(proved, signal) : proved;
  const findings = [...causes, ...(await runChecks(EVIDENCE, reading, { now, signal, witness }))];
  const facts: Facts = Object.assign({}, ...findings.map((finding) => finding.facts));
  return {
    verdict: await markTolerated(judge(findings, proof), sources.host),
    seenMs: findings.some(isCause) ? checkedMs : now(),
    findings,
    proof,
    facts:
      witness === undefined ? facts : { ...facts, platform: witness.flags?.platform ?? DEFAULT_PLATFORM },
    watch: await pathsToWatch(reading, findings),
  };
}

/** The findings of the checks of causes, and the proof: the last one where it stands, unless a check saw a fault. */
async function checkAndProve(
  options: EvaluateOptions,
  reading: CheckInputs,
  signal: AbortSignal,
): Promise<readonly [readonly Finding[], Outcome]> {
  const { prove, now } = options;
  const check = () => runChecks(CAUSES, reading, { now, signal });
  const silence = () => reading.status().then(() => undefined, inconclusive);
  const proveNow = async () => (await silence()) ?? prove(signal);
  const standing = await standingProof(options, reading);
  if (standing === undefined) return Promise.all([check(), proveNow()]);
  const findings = await check();
  return [findings, findings.some(isCause) ? await proveNow() : ((await silence()) ?? standing)];
}

/** What a busy node comes to, as it answers late: it says nothing against the node. */
const EXCUSABLE: readonly Reason[] = ['CheckTimedOut', 'ProbeInterrupted'];

/** Marks a verdict that a busy node is to blame for. */
export async function markTolerated(verdict: Verdict, host: Host): Promise<Verdict> {
  if (!EXCUSABLE.includes(verdict.reason)) return verdict;
  return (await readPressure(host)) === undefined ? verdict : { ...verdict, tolerated: true };
}

/**
 * The last proof, if only containerd's own configuration was edited after it. containerd reads that file only when it starts,
 * so a boot would show nothing new. A restart is likely to follow, and a boot must not overlap it: gVisor's shim can
 * deadlock when containerd ends while a container starts, and a containerd 1.x waits for it forever.
 */
async function standingProof(
  { sources, last, triggers = [] }: EvaluateOptions,
  reading: CheckInputs,
): Promise<Outcome | undefined> {
  if (last?.kind !== 'proven' || triggers.length === 0) return undefined;
  const { files } = await reading.config().catch(() => ({ files: [] }));
  const own = [sources.containerdConfig, ...files];
  const edited = triggers.every((trigger) => trigger.kind === 'file' && own.includes(trigger.path));
  return edited ? last : undefined;
}

/** The files that findings name, and those from which a handler starts a sandbox, where they may come to be too. */
async function pathsToWatch(reading: CheckInputs, findings: readonly Finding[]): Promise<string[]> {
  const { containerdConfig, cri } = reading.sources;
  const named = findings.flatMap(({ evidence = [] }) => evidence.flatMap(({ file }) => file ?? []));
  const kept = named.filter((file) => !file.startsWith('/proc/'));
  const paths = new Set([containerdConfig, cri.socket, ...kept]);
  const { file, binaryName } = await reading.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
  const runsc = await reading.runsc().catch(() => undefined);
  const shim = await reading.runtime().then(shimOf, () => undefined);
  if (runsc !== undefined) paths.add(runsc).add(posix.join(posix.dirname(runsc), 'gvisor-bin'));
  if (file !== undefined) paths.add(file);
  for (const program of [binaryName, shim ?? 'containerd-shim-runsc-v1']) {
    if (program.startsWith('/')) paths.add(program);
    else for (const folder of reading.directories) paths.add(posix.join(folder, program));
  }
  return [...paths];
}
