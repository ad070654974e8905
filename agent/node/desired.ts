import { createHash } from 'node:crypto';
import type { Report } from '../agent.ts';
import type { Config } from '../config.ts';
import { expectsGvisor } from '../expected.ts';
import type { Facts } from '../host/system.ts';
import type { Verdict } from '../verdict.ts';
import { CONDITION, type DesiredEntry, entry, type NodeObject, OWN_KEYS, otherBoot } from './object.ts';

/** What an agent claims about its Node. */
export type Claim = Pick<Report, 'verdict' | 'facts'>;

/** The agent that makes a claim: `fingerprint` is its version with a digest of its settings, `boot` the boot ID of its kernel. */
export type Claimant = {
  readonly node: string;
  readonly fingerprint: string;
  readonly boot: string;
  /** Whether nodes that are not proven carry a taint. */
  readonly taint: boolean;
  /** Whether gVisor is expected on every node. */
  readonly expectGvisor: boolean;
};

/**
 * The claim that may be written now; undefined to leave the Node as it is. A proof is valid only in the boot in which it was
 * made: without a report the label of another boot is withdrawn, and a new proof is withheld while the kubelet reports
 * another boot, because the fleet controller would withdraw its label again.
 */
export function claimFor(report: Report | undefined, node: NodeObject, boot: string): Claim | undefined {
  const { labels, annotations } = node.metadata;
  if (report === undefined) {
    const proven = annotations?.[OWN_KEYS.annotations.provenBoot];
    if (labels?.[OWN_KEYS.labels.ready] !== 'true' || proven === boot) return undefined;
    return rebooted(rebootMessage(proven, boot));
  }
  const reported = otherBoot(node, boot);
  if (report.verdict.status !== 'True' || reported === undefined) return report;
  return rebooted(`gVisor was proven in the boot ${boot}, but the kubelet reports the boot ${reported}`);
}

/** Message for a label that was withdrawn because of a reboot. */
export function rebootMessage(proven: string | undefined, boot: string): string {
  const when = proven === undefined ? 'an unknown boot' : `the boot ${proven}`;
  return `gVisor was proven in ${when}, and not yet in the present one, ${boot}`;
}

function rebooted(message: string): Claim {
  const verdict: Verdict = { status: 'Unknown', reason: 'NodeRebooted', message };
  return { verdict, facts: {} };
}

/**
 * The desired values of a Node for a claim, and the reason if the rollout of this agent must wait. `traces` is whether a part
 * of gVisor is on the node, as far as known.
 */
export function desiredState(
  { verdict, facts, traces }: Claim & { readonly traces?: boolean | undefined },
  node: NodeObject,
  claimant: Claimant,
) {
  const isProven = verdict.status === 'True';
  const annotations = OWN_KEYS.annotations;
  const { provenBy, refusal } = guardRollout(
    verdict,
    node.metadata.annotations?.[annotations.provenBy],
    claimant,
  );
  const desired: DesiredEntry[] = Object.entries(labelsFor(verdict, facts)).map(([label, value]) =>
    entry('labels', label, value),
  );
  const provenOnce = isProven || node.metadata.annotations?.[annotations.provenBy] !== undefined;
  const expected = expectsGvisor({ always: claimant.expectGvisor, provenOnce, traces });
  // The admission policy refuses "false" on a node that is still labelled.
  if (expected || (expected === false && node.metadata.labels?.[OWN_KEYS.labels.ready] !== 'true'))
    desired.push(entry('labels', OWN_KEYS.labels.expected, String(expected)));
  if (provenBy !== undefined) desired.push(entry('annotations', annotations.provenBy, provenBy));
  if (isProven) desired.push(entry('annotations', annotations.provenBoot, claimant.boot));
  if (claimant.taint && !(isProven && isNotReady(node)))
    desired.push(entry('taint', OWN_KEYS.taint, isProven ? null : 'NoSchedule'));
  desired.push(entry('condition', CONDITION, `${verdict.status} ${verdict.reason}`));
  return { desired, refusal };
}

/**
 * The labels for a verdict; `null` removes one, and a label that is not in the result stays as it is. Facts that a new agent
 * does not know yet stay as its predecessor wrote them, except on a node that fails.
 */
export function labelsFor(verdict: Verdict, facts: Facts): Record<string, string | null> {
  const { ready, runscVersion, platform, gpu } = OWN_KEYS.labels;
  const isKnown = (fact: keyof Facts) => fact in facts || verdict.status === 'False';
  return {
    [ready]: verdict.status === 'True' ? 'true' : 'false',
    ...(isKnown('runsc') ? { [runscVersion]: labelValue(facts.runsc) } : {}),
    ...(isKnown('platform') ? { [platform]: labelValue(facts.platform) } : {}),
    ...(isKnown('gpu') ? { [gpu]: labelValue(facts.gpu) } : {}),
  };
}

/**
 * A text as a valid label value: at most 63 of [A-Za-z0-9._-], beginning and ending with a letter or digit.
 * Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
 */
export function labelValue(text: string | undefined): string | null {
  const value = (text ?? '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
  return value === '' ? null : value;
}

/**
 * Stops a rollout that would empty the fleet. An agent that finds a node not ready which an agent with another fingerprint
 * proved writes its verdict, but is not Ready itself until it proves the node or the annotation `proven-by` is removed. An
 * agent that withdraws its own proof empties the annotation, which records that gVisor worked here before.
 */
export function guardRollout(
  { status, reason, message }: Verdict,
  provenBy: string | undefined,
  { fingerprint, node }: Pick<Claimant, 'fingerprint' | 'node'>,
): { readonly provenBy: string | undefined; readonly refusal?: string } {
  if (status === 'True') return { provenBy: fingerprint };
  if (provenBy === fingerprint) return { provenBy: '' };
  if (provenBy === undefined || provenBy === '') return { provenBy: undefined };
  const accept = `kubectl annotate node ${node} ${OWN_KEYS.annotations.provenBy}-`;
  return {
    provenBy: undefined,
    refusal: `the node was proven by ${provenBy}; this ${fingerprint} says ${reason}: ${message}; to accept that: ${accept}`,
  };
}

/**
 * The agent's version with a digest of the settings that affect verdicts, such as "0.1.0+1f3c9a20". Agents with the same
 * fingerprint judge a node alike.
 */
export function fingerprintOf(version: string, config: Config): string {
  const { handler, hostRoot, criSocket, containerdConfig, minRunscRelease } = config;
  const { requireLimits, forbidFlagOverride } = config;
  const places = [handler, hostRoot, criSocket, containerdConfig];
  const settings = [...places, minRunscRelease, requireLimits, forbidFlagOverride];
  const digest = createHash('sha256').update(JSON.stringify(settings)).digest('hex');
  return `${version}+${digest.slice(0, 8)}`;
}

/** Whether the kubelet reports the Node as not Ready. The fleet controller may have tainted it, in case it reboots. */
export function isNotReady({ status }: NodeObject): boolean {
  return status?.conditions?.some(({ type, status }) => type === 'Ready' && status !== 'True') ?? false;
}
