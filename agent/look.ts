import { CAUSES, EVIDENCE } from './checks/catalogue.ts';
import type { Sources } from './checks/check.ts';
import { runChecks } from './checks/run.ts';
import { readContainerdFiles } from './containerd/files.ts';
import type { Cri, CriStatus, ShimInfo } from './cri/cri.ts';
import type { Facts } from './facts.ts';
import type { Finding } from './finding.ts';
import { readPressure } from './host/pressure.ts';
import { RememberingHost } from './host/remembering-host.ts';
import { impossible, type Outcome } from './proof/outcome.ts';
import { DEFAULT_PLATFORM } from './runsc/config.ts';
import { type GvisorFiles, readGvisorFiles } from './runsc/files.ts';
import { isChange, type Trigger } from './trigger/trigger.ts';
import { isCause, judge, type Verdict } from './verdict.ts';

/** One whole look at the node. `watch` are the host paths whose change should lead to another. */
export type Look = {
  readonly verdict: Verdict;
  /** When what decides was seen, milliseconds of the monotonic clock: the checks begin a look, the proof ends it. */
  readonly seenMs: number;
  readonly findings: readonly Finding[];
  /** The very object of an earlier look where that proof stands. */
  readonly proof: Outcome;
  readonly facts: Facts;
  readonly watch: readonly string[];
};

/** What a look needs: the sources, the proof as a function, and a monotonic clock in milliseconds. */
export type LookOptions = {
  readonly sources: Sources;
  /** `changed`: something happened since the last proof that may have mended what hung. */
  readonly prove: (signal: AbortSignal, changed: boolean) => Promise<Outcome>;
  readonly now: () => number;
  /** The last proof, if it is recent enough to stand. */
  readonly last?: Outcome | undefined;
  /** What happened after the last proof. */
  readonly triggers?: readonly Trigger[];
};

/**
 * Runs the checks of causes, then the proof (unless the last one stands), then the checks of what it showed, and
 * judges. A containerd that left one question unanswered is asked no other, so that a look of one that hangs costs one
 * deadline. Rejects only when the signal is aborted.
 */
export async function look(options: LookOptions, signal: AbortSignal): Promise<Look> {
  const { sources, prove, now, triggers = [] } = options;
  const first = rememberAnswers(sources);
  let checkedMs = now();
  const before = await runChecks(CAUSES, first, { now, signal });
  const explained = before.some(isCause);
  const standing = explained ? undefined : await standingProof(options, first.host, signal);
  const changed = triggers.some(isChange);
  const proof = await proveIfAnswered(first.cri, async (inner) => standing ?? prove(inner, changed), signal);
  // A cause that came only after the checks had looked, in the middle of the proof, is seen by looking again.
  const again = isBroken(proof) && !explained;
  const once = again ? rememberAnswers(sources) : first;
  if (again) checkedMs = now();
  const causes = again ? await runChecks(CAUSES, once, { now, signal }) : before;
  const proven = proof.kind === 'proven' ? { ...once, witness: proof.witness } : once;
  const findings = [...causes, ...(await runChecks(EVIDENCE, proven, { now, signal }))];
  const facts: Facts = Object.assign({}, ...findings.map((finding) => finding.facts));
  const files = await readGvisorFiles(once, signal).catch(() => undefined);
  return {
    verdict: await excuse(judge(findings, proof), sources),
    seenMs: findings.some(isCause) ? checkedMs : now(),
    findings,
    proof,
    facts:
      proof.kind === 'proven'
        ? { ...facts, platform: proof.witness.flags?.platform ?? DEFAULT_PLATFORM }
        : facts,
    watch: pathsToWatch(once, findings, files),
  };
}

/** A node under pressure answers late and boots slowly: what was not seen for that says nothing against it. */
async function excuse(verdict: Verdict, { host }: Sources): Promise<Verdict> {
  if (verdict.reason !== 'SandboxSlow' && verdict.reason !== 'CheckTimedOut') return verdict;
  return (await readPressure(host)) === undefined ? verdict : { ...verdict, excused: true };
}

/**
 * The last proof, if only containerd's own configuration was edited after it. containerd reads that file only when it starts,
 * so a boot would show nothing new. A restart is likely to follow, and a boot must not overlap it: gVisor's shim can
 * deadlock when containerd ends while a container starts, and a containerd 1.x waits for it forever.
 */
async function standingProof(
  { sources, last, triggers = [] }: LookOptions,
  host: Sources['host'],
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  if (last?.kind !== 'proven' || triggers.length === 0) return undefined;
  const root = sources.containerdConfig;
  const { files } = await readContainerdFiles(host, root, signal).catch(() => ({ files: [] }));
  const own = [root, ...files.map(({ path }) => path)];
  const edited = triggers.every((trigger) => trigger.kind === 'file' && own.includes(trigger.path));
  return edited ? last : undefined;
}

async function proveIfAnswered(
  cri: Cri,
  prove: (signal: AbortSignal) => Promise<Outcome>,
  signal: AbortSignal,
): Promise<Outcome> {
  const silence = await cri.status(signal).then(
    () => undefined,
    (error: unknown) => impossible(error),
  );
  signal.throwIfAborted();
  return silence ?? prove(signal);
}

function isBroken({ kind }: Outcome): boolean {
  return kind === 'failed' || kind === 'stuck';
}

/** Asks containerd and the host each question once a look, so that all checks speak of the same answer. */
function rememberAnswers(sources: Sources): Sources {
  const { cri, host } = sources;
  let answer: Promise<CriStatus> | undefined;
  const shims = new Map<string, Promise<ShimInfo>>();
  const status = (signal: AbortSignal) => {
    answer ??= cri.status(signal);
    return answer;
  };
  const shimInfo = (runtime: string, signal: AbortSignal) => {
    const info = shims.get(runtime) ?? status(signal).then(() => cri.shimInfo(runtime, signal));
    shims.set(runtime, info);
    return info;
  };
  return { ...sources, host: new RememberingHost(host), cri: { socket: cri.socket, status, shimInfo } };
}

function pathsToWatch(
  sources: Sources,
  findings: readonly Finding[],
  files: GvisorFiles | undefined,
): string[] {
  const paths = new Set([sources.containerdConfig, sources.cri.socket]);
  for (const { file } of findings.flatMap(({ evidence }) => evidence ?? [])) {
    if (file !== undefined && !file.startsWith('/proc/')) paths.add(file);
  }
  if (files !== undefined) {
    const { runtime, config, folders, runsc } = files;
    if (config.file !== undefined) paths.add(config.file);
    if (runsc !== undefined) paths.add(runsc).add(`${runsc.replace(/\/[^/]*$/, '')}/gvisor-bin`);
    if (runtime.runtimePath !== '') paths.add(runtime.runtimePath);
    const named = config.binaryName.startsWith('/');
    if (named) paths.add(config.binaryName);
    const searched = ['containerd-shim-runsc-v1', ...(named ? [] : [config.binaryName])];
    for (const folder of folders) {
      for (const program of searched) paths.add(`${folder}/${program}`);
    }
  }
  return [...paths];
}
