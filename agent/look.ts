import { CHECKS, type Sources } from './checks/catalogue.ts';
import { runChecks } from './checks/run.ts';
import type { Finding } from './finding.ts';
import type { Cri, CriStatus, ShimInfo } from './host/cri.ts';
import { type GvisorFiles, readGvisorFiles } from './host/gvisor-files.ts';
import type { Outcome } from './proof/outcome.ts';
import type { Facts } from './report.ts';
import { judge, type Verdict } from './verdict.ts';

/** One whole look at the node. `watch` are the host paths whose change should lead to another. */
export type Look = {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly proof: Outcome;
  readonly facts: Facts;
  readonly watch: readonly string[];
};

/** What a look needs: the sources, the proof as a function, and a monotonic clock in milliseconds. */
export type LookOptions = {
  readonly sources: Sources;
  readonly prove: (signal: AbortSignal) => Promise<Outcome>;
  readonly now: () => number;
};

/** Runs every check, then the proof, and judges. Rejects only when the signal is aborted. */
export async function look({ sources, prove, now }: LookOptions, signal: AbortSignal): Promise<Look> {
  const cri = rememberAnswers(sources.cri);
  const once: Sources = { ...sources, cri };
  const findings = await runChecks(CHECKS, once, { now, signal });
  const proof = await prove(signal);
  const seen = await readSeen(once, findings, signal);
  return { verdict: judge(findings, proof), findings, proof, ...seen };
}

/** Asks containerd each question once a look, so that all checks speak of the same answer. */
function rememberAnswers(cri: Cri): Cri {
  let status: Promise<CriStatus> | undefined;
  const shims = new Map<string, Promise<ShimInfo>>();
  return {
    socket: cri.socket,
    status: (signal) => {
      status ??= cri.status(signal);
      return status;
    },
    shimInfo: (runtime, signal) => {
      const answer = shims.get(runtime) ?? cri.shimInfo(runtime, signal);
      shims.set(runtime, answer);
      return answer;
    },
  };
}

/** Facts for labels and metrics, and the files to watch; what cannot be read is left out, a check has said so. */
async function readSeen(
  sources: Sources,
  findings: readonly Finding[],
  signal: AbortSignal,
): Promise<Pick<Look, 'facts' | 'watch'>> {
  const status = await sources.cri.status(signal).catch(() => undefined);
  const files = await readGvisorFiles(sources, signal).catch(() => undefined);
  const said = findings.find(({ check }) => check === 'runsc-release')?.evidence?.[0]?.value;
  const runsc = /version (\S+)/.exec(said ?? '')?.[1];
  const facts: Facts = {
    ...(status === undefined ? {} : { containerd: status.runtimeVersion }),
    ...(runsc === undefined ? {} : { runsc }),
    ...(files?.runsc === undefined ? {} : { platform: files.config.flags.get('platform') ?? 'systrap' }),
  };
  return { facts, watch: pathsToWatch(sources, findings, files) };
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
    const { runtime, config, searchPath, runsc } = files;
    if (config.file !== undefined) paths.add(config.file);
    if (runsc !== undefined) paths.add(runsc).add(`${runsc.replace(/\/[^/]*$/, '')}/gvisor-bin`);
    if (runtime.runtimePath !== '') paths.add(runtime.runtimePath);
    const named = config.binaryName.startsWith('/');
    if (named) paths.add(config.binaryName);
    const searched = ['containerd-shim-runsc-v1', ...(named ? [] : [config.binaryName])];
    for (const folder of searchPath.path) {
      for (const program of searched) paths.add(`${folder}/${program}`);
    }
  }
  return [...paths];
}
