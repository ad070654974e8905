import { createHash } from 'node:crypto';
import type { Config } from '../config.ts';
import type { Facts } from '../finding.ts';
import type { Report } from '../report.ts';
import type { Verdict } from '../verdict.ts';
import { CONDITION, type NodeObject, OWN_KEYS, type Wanted } from './object.ts';
import type { NodeOptions } from './writer.ts';

/**
 * The node's labels: `null` takes one away. Only a proven node is "true"; what was never judged has none. What a new agent
 * could not tell yet stays as its predecessor told it, but not on a node that fails.
 */
export function labelsFor(verdict: Verdict, facts: Facts): Record<string, string | null> {
  const { ready, runscVersion, platform } = OWN_KEYS.labels;
  const isTold = (fact: keyof Facts) => fact in facts || verdict.status === 'False';
  return {
    [ready]: verdict.status === 'True' ? 'true' : 'false',
    ...(isTold('runsc') ? { [runscVersion]: labelValue(facts.runsc) } : {}),
    ...(isTold('platform') ? { [platform]: labelValue(facts.platform) } : {}),
  };
}

/**
 * A text as a label's value: at most 63 of [A-Za-z0-9._-], beginning and ending with a letter or digit.
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
 * The agent's version with a digest of the settings that a verdict depends on, such as "0.1.0+1f3c9a20": two agents
 * with the same fingerprint judge a node alike.
 */
export function fingerprintOf(version: string, config: Config): string {
  const { handler, hostRoot, criSocket, containerdConfig, minRunscRelease } = config;
  const { requireLimits, forbidFlagOverride } = config;
  const places = [handler, hostRoot, criSocket, containerdConfig];
  const settings = [...places, minRunscRelease, requireLimits, forbidFlagOverride];
  const digest = createHash('sha256').update(JSON.stringify(settings)).digest('hex');
  return `${version}+${digest.slice(0, 8)}`;
}

/** What the agent claims of its Node. */
export type Claim = Pick<Report, 'verdict' | 'facts'>;

/**
 * A proof belongs to the boot on which it was made. Until this agent has a report, a label of another boot is withdrawn,
 * and anything else stands (undefined). Its own proof is held back while the kubelet reports another boot: the fleet controller
 * compares the annotation with that, and would withdraw the label again.
 */
export function claimFor(report: Report | undefined, node: NodeObject, boot: string): Claim | undefined {
  const { labels, annotations } = node.metadata;
  if (report === undefined) {
    const proven = annotations?.[OWN_KEYS.annotations.provenBoot];
    if (labels?.[OWN_KEYS.labels.ready] !== 'true' || proven === boot) return undefined;
    return rebooted(rebootMessage(proven, boot));
  }
  const reported = node.status?.nodeInfo?.bootID ?? '';
  if (report.verdict.status !== 'True' || reported === '' || reported === boot) return report;
  return rebooted(`gVisor was proven in the boot ${boot}, but the kubelet reports the boot ${reported}`);
}

/** Why a label of an earlier boot was withdrawn. */
export function rebootMessage(proven: string | undefined, boot: string): string {
  const when = proven === undefined ? 'an unknown boot' : `the boot ${proven}`;
  return `gVisor was proven in ${when}, and not yet in the present one, ${boot}`;
}

function rebooted(message: string): Claim {
  const verdict: Verdict = { status: 'Unknown', reason: 'NodeRebooted', message };
  return { verdict, facts: {} };
}

/** The new value of the annotation `proven-by`, and the reason if this agent is not ready. */
export type Guarded = {
  /** The text to write, empty for a proof that is withdrawn; undefined to leave the annotation as it is. */
  readonly provenBy: string | undefined;
  readonly refusal?: string;
};

/** Who judges: `fingerprint` is the agent's version with a digest of the settings that a verdict depends on. */
export type Judge = { readonly fingerprint: string; readonly node: string; readonly key: string };

/**
 * Holds up a rollout that empties the fleet: a node that an agent with one fingerprint proved, and that one with another
 * finds not ready, gets the new verdict, but the new agent is not Ready until it proves the node or somebody takes the
 * annotation away. An agent that withdraws its own proof leaves the annotation empty, which tells that gVisor did work
 * here once.
 */
export function guard(verdict: Verdict, provenBy: string | undefined, judge: Judge): Guarded {
  const { fingerprint, node, key } = judge;
  if (verdict.status === 'True') return { provenBy: fingerprint };
  if (provenBy === fingerprint) return { provenBy: '' };
  if (provenBy === undefined || provenBy === '') return { provenBy: undefined };
  const { reason, message } = verdict;
  const accept = `kubectl annotate node ${node} ${key}-`;
  return {
    provenBy: undefined,
    refusal: `the node was proven by ${provenBy}; this ${fingerprint} says ${reason}: ${message}; to accept that: ${accept}`,
  };
}

/** What a Node should say of a claim, one entry a key, and why the rollout must wait on it, if it must. */
export function want(
  { verdict, facts }: Claim,
  node: NodeObject,
  { taint, fingerprint, boot, node: name }: Pick<NodeOptions, 'taint' | 'fingerprint' | 'boot' | 'node'>,
): { readonly wanted: readonly Wanted[]; readonly refusal: string | undefined } {
  const { provenBy: key, provenBoot: bootKey } = OWN_KEYS.annotations;
  const written = node.metadata.annotations?.[key];
  const isProven = verdict.status === 'True';
  const { provenBy, refusal } = guard(verdict, written, { fingerprint, node: name, key });
  const entry = (part: Wanted['part'], key: string, value: string | null): Wanted => ({ part, key, value });
  const wanted = [
    ...Object.entries(labelsFor(verdict, facts)).map(([label, value]) => entry('labels', label, value)),
    ...(provenBy === undefined ? [] : [entry('annotations', key, provenBy)]),
    ...(isProven ? [entry('annotations', bootKey, boot)] : []),
    ...(taint && !(isProven && isNotReady(node))
      ? [entry('taint', OWN_KEYS.taint, isProven ? null : 'NoSchedule')]
      : []),
    entry('condition', CONDITION, `${verdict.status} ${verdict.reason}`),
  ];
  return { wanted, refusal };
}

/** Whether the kubelet does not say that the Node is Ready: the fleet controller may have tainted it, in case it reboots. */
export function isNotReady({ status }: NodeObject): boolean {
  return status?.conditions?.some((each) => each.type === 'Ready' && each.status !== 'True') ?? false;
}
