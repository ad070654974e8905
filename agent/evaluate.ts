import { posix } from 'node:path';
import type { Reason } from '../lib/base/reasons.ts';
import type { Finding } from '../lib/checks/finding.ts';
import type { CriClient } from '../lib/containerd/client.ts';
import { type Distribution, rememberConfigPath } from '../lib/containerd/distribution.ts';
import type { Host } from '../lib/host/host.ts';
import { installJournal } from '../lib/host/installation.ts';
import { readPressure } from '../lib/host/pressure.ts';
import type { Facts } from '../lib/host/system.ts';
import type { ProbeFlags } from '../lib/pods/pod.ts';
import { inconclusive, type Outcome, outcomeOfKvm, type Unproven } from '../lib/proof/outcome.ts';
import { isCause, judge, UNEXPLAINED, type Verdict } from '../lib/report/verdict.ts';
import { DEFAULT_PLATFORM, DEFAULT_RUNSC_CONFIG } from '../lib/runsc/config.ts';
import { type RunscPrograms, shimOf } from '../lib/runsc/program.ts';
import { CheckInputs, type Sources } from './checks/check.ts';
import { CAUSE_CHECKS, EVIDENCE_CHECKS, runChecks } from './checks/checks.ts';
import type { Prover } from './proof/prover.ts';
import { BaseSpecs } from './runsc/base-spec.ts';
import type { Config } from './start/config.ts';
import { isChange, type Trigger } from './trigger/event-queue.ts';

export type Evaluation = {
  readonly verdict: Verdict;
  /** When the deciding observation was made, monotonic milliseconds: the checks come first, the proof last. */
  readonly seenMs: number;
  readonly findings: readonly Finding[];
  /** The same object as before if that proof is still valid. */
  readonly proof: Outcome;
  readonly facts: Facts;
  /** Host paths whose change should trigger the next evaluation. */
  readonly watch: readonly string[];
};

/** `now` is a monotonic clock in milliseconds. */
export type NodeEvaluatorOptions = {
  readonly config: Config;
  readonly host: Host;
  readonly client: CriClient;
  readonly distribution: Distribution;
  readonly prover: Prover;
  readonly programs: RunscPrograms;
  readonly now: () => number;
  /** Called before an evaluation that begins because the node itself may have changed. */
  readonly onChange?: (() => void) | undefined;
};

/** Remembers where containerd's configuration is, what it has loaded and which shim the last proof saw. */
export class NodeEvaluator {
  readonly #options: NodeEvaluatorOptions;
  readonly #configPath: () => Promise<string>;
  readonly #baseSpecs = new BaseSpecs();

  constructor(options: NodeEvaluatorOptions) {
    const { host, client, distribution, config } = options;
    this.#options = options;
    this.#configPath = rememberConfigPath({ host, client, distribution, named: config.containerdConfig });
  }

  /** `last` is the last proof if it is recent enough to be reused. */
  async evaluate(
    signal: AbortSignal,
    triggers: readonly Trigger[],
    last: Outcome | undefined,
  ): Promise<Evaluation> {
    const { config, host, client, distribution, prover, programs, now, onChange } = this.#options;
    // Before the first await, so that an evaluation that times out does not lose the change.
    if (triggers.some(isChange)) {
      prover.changed();
      onChange?.();
    }
    const sources: Sources = {
      ...config,
      host,
      cri: client,
      containerdConfig: await this.#configPath(),
      edit: distribution.edit,
      programs,
      baseSpecs: this.#baseSpecs,
      shim: prover.witness?.shim,
    };
    return evaluate({ sources, prover, now, last, triggers }, signal);
  }

  markTolerated(verdict: Verdict): Promise<Verdict> {
    const { host, client: cri } = this.#options;
    return markTolerated(verdict, { host, cri });
  }

  /** The runsc flags of the last proven sandbox, to compare pods with. */
  get probeFlags(): ProbeFlags | undefined {
    const { config, prover } = this.#options;
    const flags = prover.witness?.flags;
    return flags && { handler: config.handler, flags };
  }
}

export type EvaluateOptions = {
  readonly sources: Sources;
  readonly prover: Pick<Prover, 'prove' | 'compare'>;
  readonly now: () => number;
  /** The last proof, if it may be reused. */
  readonly last?: Outcome | undefined;
  /** Changes since the last proof. */
  readonly triggers?: readonly Trigger[];
};

/**
 * Runs the checks for causes while a sandbox boots, then those on what it showed, and judges. After one request to
 * containerd has timed out no other is sent. Rejects only when the signal is aborted.
 */
export async function evaluate(options: EvaluateOptions, signal: AbortSignal): Promise<Evaluation> {
  const { sources, prover, now } = options;
  const first = new CheckInputs(sources, signal);
  let checkedMs = now();
  const [before, proved] = await checkAndProve(options, first, signal);
  signal.throwIfAborted();
  const witness = proved.kind === 'proven' ? proved.witness : undefined;
  // The cause may have appeared after the checks had run.
  const isUnexplained = (proved.kind === 'failed' || proved.kind === 'stuck') && !before.some(isCause);
  // Only the proof shows a shim outside of PATH; runsc is then looked for beside it.
  const { shim = sources.shim } = witness ?? {};
  const rerun = isUnexplained || (shim !== undefined && !first.directories.includes(posix.dirname(shim)));
  const inputs = rerun ? new CheckInputs({ ...sources, shim }, signal) : first;
  if (rerun) checkedMs = now();
  const causes = rerun ? await runChecks(CAUSE_CHECKS, inputs, { now, signal }) : before;
  const isNodeSuspect = mayBeTheNode(proved) && !causes.some(isCause) && (await responds(inputs));
  const blamed = await blamePlatform(proved, inputs);
  const proof = isNodeSuspect ? await prover.compare(proved, blamed, signal) : blamed;
  const findings = [...causes, ...(await runChecks(EVIDENCE_CHECKS, inputs, { now, signal, witness }))];
  const facts: Facts = Object.assign({}, ...findings.map((finding) => finding.facts));
  return {
    verdict: await markTolerated(judge(findings, proof), sources),
    seenMs: findings.some(isCause) ? checkedMs : now(),
    findings,
    proof,
    facts:
      witness === undefined ? facts : { ...facts, platform: witness.flags?.platform ?? DEFAULT_PLATFORM },
    watch: await pathsToWatch(inputs, findings),
  };
}

/** Whether a sandbox of runc shows if the node is to blame. */
function mayBeTheNode(outcome: Outcome): outcome is Unproven {
  const { kind } = outcome;
  if (kind === 'proven' || kind === 'slow') return false;
  return kind === 'stuck' || [...UNEXPLAINED, 'CheckTimedOut'].includes(outcome.reason);
}

/** Whether containerd has answered in this evaluation. */
function responds(inputs: CheckInputs): Promise<boolean> {
  return inputs.status().then(
    () => true,
    () => false,
  );
}

async function blamePlatform(outcome: Outcome, inputs: CheckInputs): Promise<Outcome> {
  if (outcome.kind === 'proven') return outcome;
  const { flags } = await inputs.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
  return flags.get('platform') === 'kvm' ? outcomeOfKvm(outcome) : outcome;
}

/** Reuses the last proof if it is still valid and no check found a fault. */
async function checkAndProve(
  options: EvaluateOptions,
  inputs: CheckInputs,
  signal: AbortSignal,
): Promise<readonly [readonly Finding[], Outcome]> {
  const { prover, now } = options;
  const check = () => runChecks(CAUSE_CHECKS, inputs, { now, signal });
  const unresponsive = () => inputs.status().then(() => undefined, inconclusive);
  const prove = async () => (await unresponsive()) ?? prover.prove(signal);
  const valid = await validProof(options, inputs);
  if (valid === undefined) return Promise.all([check(), prove()]);
  const findings = await check();
  return [findings, findings.some(isCause) ? await prove() : ((await unresponsive()) ?? valid)];
}

/** Reasons that a busy node explains. */
const TOLERABLE: readonly Reason[] = ['CheckTimedOut', 'ProbeInterrupted'];

/** Tolerated if the node is under CPU pressure, or containerd answers late, and that explains the verdict. */
export async function markTolerated(
  verdict: Verdict,
  { host, cri }: Pick<Sources, 'host' | 'cri'>,
): Promise<Verdict> {
  if (!TOLERABLE.includes(verdict.reason)) return verdict;
  // All CPUs but those that containerd may use can be idle.
  const isSlow = cri.answersLate || (await readPressure(host)) !== undefined;
  return isSlow ? { ...verdict, tolerated: true } : verdict;
}

/**
 * The last proof, if only containerd's configuration was edited since, which it reads only when it starts. A restart is
 * likely to follow, and a boot must not overlap it: gVisor's shim can deadlock when containerd ends while a container
 * starts, and containerd 1.x waits for it forever.
 */
async function validProof(
  { sources, last, triggers = [] }: EvaluateOptions,
  inputs: CheckInputs,
): Promise<Outcome | undefined> {
  if (last?.kind !== 'proven' || triggers.length === 0) return undefined;
  const { files } = await inputs.config().catch(() => ({ files: [] }));
  const own = [sources.containerdConfig, ...files];
  const isEdit = triggers.every((trigger) => trigger.kind === 'file' && own.includes(trigger.path));
  return isEdit ? last : undefined;
}

/** The files that findings name, and all paths where the handler's files are, or could appear. */
async function pathsToWatch(inputs: CheckInputs, findings: readonly Finding[]): Promise<string[]> {
  const { containerdConfig, cri, handler } = inputs.sources;
  const named = findings.flatMap(({ evidence = [] }) => evidence.flatMap(({ file }) => file ?? []));
  const watchable = named.filter((file) => !file.startsWith('/proc/'));
  const paths = new Set([containerdConfig, cri.socket, installJournal(handler), ...watchable]);
  const { file, binaryName } = await inputs.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
  const runsc = await inputs.runsc().catch(() => undefined);
  const shim = await inputs.runtime().then(shimOf, () => undefined);
  if (runsc !== undefined) paths.add(runsc).add(posix.join(posix.dirname(runsc), 'gvisor-bin'));
  if (file !== undefined) paths.add(file);
  for (const program of [binaryName, shim ?? 'containerd-shim-runsc-v1']) {
    if (program.startsWith('/')) paths.add(program);
    else for (const directory of inputs.directories) paths.add(posix.join(directory, program));
  }
  return [...paths];
}
