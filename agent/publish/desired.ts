import { createHash } from 'node:crypto';
import type { Facts } from '../../lib/host/system.ts';
import {
  CONDITION,
  type DesiredEntry,
  entry,
  handlerLabels,
  handlersProvenOnce,
  keysOf,
  type NodeObject,
  OWN_KEYS,
  otherBoot,
} from '../../lib/report/node-object.ts';
import type { Report } from '../../lib/report/report.ts';
import type { Circumstances, Verdict } from '../../lib/report/verdict.ts';
import type { Config } from '../start/config.ts';

/** `fingerprint` is the agent's version with a digest of its settings, `boot` the boot ID of its kernel. */
export type Claimant = {
  readonly node: string;
  readonly fingerprint: string;
  readonly boot: string;
  readonly taint: boolean;
  /** The first one also has the condition, the taint and the labels of facts. */
  readonly handlers: readonly string[];
};

/** What a Node says of a handler. */
export type NodeSeen = Omit<Circumstances, 'installation'> & {
  readonly provenOnce: boolean;
};

/** What is to be said of a handler, with the report that says it; without one before the first verdict. */
export type Said = { readonly verdict: Verdict; readonly report?: Report };

/** Says why the rollout must wait, if it must. */
export type Desired = {
  readonly entries: readonly DesiredEntry[];
  readonly verdicts: ReadonlyMap<string, Verdict>;
  readonly refusal?: string | undefined;
};

/** `isUnguarded` if no policy limits this agent to its own Node. */
export function seenIn(
  node: NodeObject,
  { boot, handlers }: Claimant,
  isUnguarded: boolean,
): ReadonlyMap<string, NodeSeen> {
  const { labels = {}, annotations = {} } = node.metadata;
  const seenOf = (handler: string | undefined): NodeSeen => {
    const keys = keysOf(handler);
    const isLabelled = labels[keys.ready] === 'true';
    const provenBoot = annotations[keys.provenBoot];
    const provenOnce = handler === undefined ? annotations[OWN_KEYS.annotations.provenBy] : provenBoot;
    return {
      boot,
      reportedBoot: otherBoot(node, boot),
      labelBoot: isLabelled && provenBoot !== boot ? (provenBoot ?? '') : undefined,
      // A policy that is missing for a moment must not end pods.
      unguarded: isUnguarded && !isLabelled,
      provenOnce: provenOnce !== undefined,
    };
  };
  return new Map(handlers.map((handler, at) => [handler, seenOf(at === 0 ? undefined : handler)]));
}

/** A handler without a report only loses the label of another boot. */
export function desiredOf(said: ReadonlyMap<string, Said>, node: NodeObject, claimant: Claimant): Desired {
  const [main] = claimant.handlers;
  const entries: DesiredEntry[] = [];
  const verdicts = new Map<string, Verdict>();
  let refusal: string | undefined;
  for (const [handler, { verdict, report }] of said) {
    if (verdict.reason === 'AgentStarting') continue;
    verdicts.set(handler, verdict);
    const keys = keysOf(handler === main ? undefined : handler);
    const isProven = verdict.status === 'True';
    entries.push(entry('labels', keys.ready, String(isProven)));
    if (isProven) entries.push(entry('annotations', keys.provenBoot, claimant.boot));
    if (handler !== main) continue;
    const own = desiredOfMain(verdict, report, node, claimant);
    entries.push(...own.entries);
    refusal = own.refusal;
  }
  return { entries: [...entries, ...retired(node, claimant)], verdicts, refusal };
}

function desiredOfMain(
  verdict: Verdict,
  report: Report | undefined,
  node: NodeObject,
  claimant: Claimant,
): Pick<Desired, 'entries' | 'refusal'> {
  const isProven = verdict.status === 'True';
  const { labels = {}, annotations = {} } = node.metadata;
  const { provenBy, refusal } = guardRollout(verdict, annotations[OWN_KEYS.annotations.provenBy], claimant);
  const entries = Object.entries(labelsFor(verdict, report?.facts ?? {})).map(([label, value]) =>
    entry('labels', label, value),
  );
  // The admission policy refuses "false" on a node that is still labelled.
  const isLabelled = labels[OWN_KEYS.labels.ready] === 'true';
  const expected = report?.expected;
  if (expected || (expected === false && !isLabelled))
    entries.push(entry('labels', OWN_KEYS.labels.expected, String(expected)));
  if (provenBy !== undefined) entries.push(entry('annotations', OWN_KEYS.annotations.provenBy, provenBy));
  // As the kubelet names it, or the fleet controller would take this failure for one of an earlier boot.
  const failedBoot = verdict.status === 'False' ? (otherBoot(node, claimant.boot) ?? claimant.boot) : null;
  entries.push(entry('annotations', OWN_KEYS.annotations.failedBoot, failedBoot));
  if (claimant.taint && !(isProven && isNotReady(node)))
    entries.push(entry('taint', OWN_KEYS.taint, isProven ? null : 'NoSchedule'));
  entries.push(entry('condition', CONDITION, `${verdict.status} ${verdict.reason}`));
  return { entries, refusal };
}

function retired({ metadata }: NodeObject, { handlers }: Claimant): readonly DesiredEntry[] {
  const isRetired = (handler: string) => !handlers.slice(1).includes(handler);
  const labels = [...handlerLabels(metadata).keys()].filter(isRetired);
  return [
    ...labels.map((handler) => entry('labels', keysOf(handler).ready, null)),
    ...handlersProvenOnce(metadata)
      .filter(isRetired)
      .map((handler) => entry('annotations', keysOf(handler).provenBoot, null)),
  ];
}

/**
 * `null` removes a label; one that is not in the result stays. Facts that a new agent does not know yet stay as its
 * predecessor wrote them, except on a node that fails.
 */
export function labelsFor(verdict: Verdict, facts: Facts): Record<string, string | null> {
  const { runscVersion, platform, gpu } = OWN_KEYS.labels;
  const isKnown = (fact: keyof Facts) => fact in facts || verdict.status === 'False';
  return {
    ...(isKnown('runsc') ? { [runscVersion]: labelValue(facts.runsc) } : {}),
    ...(isKnown('platform') ? { [platform]: labelValue(facts.platform) } : {}),
    ...(isKnown('gpu') ? { [gpu]: labelValue(facts.gpu) } : {}),
  };
}

/**
 * A label value: at most 63 of [A-Za-z0-9._-], beginning and ending with a letter or digit. Source:
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
 */
export function labelValue(text: string | undefined): string | null {
  const value = (text ?? '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
  return value === '' ? null : value;
}

/**
 * Stops a rollout that would empty the fleet. An agent that finds a node broken which another fingerprint proved writes
 * its verdict, and is not Ready until it proves the node or the annotation `proven-by` is removed. An agent that
 * withdraws its own proof empties the annotation.
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

/** Such as "0.1.0+1f3c9a20". Agents with the same fingerprint judge a node alike. */
export function fingerprintOf(version: string, config: Config): string {
  const { handler, hostRoot, criSocket, containerdConfig, minRunscRelease } = config;
  const { requireLimits, forbidFlagOverride } = config;
  const places = [handler, hostRoot, criSocket, containerdConfig];
  const settings = [...places, minRunscRelease, requireLimits, forbidFlagOverride];
  const digest = createHash('sha256').update(JSON.stringify(settings)).digest('hex');
  return `${version}+${digest.slice(0, 8)}`;
}

/** The fleet controller may have tainted it, in case it reboots. */
export function isNotReady({ status }: NodeObject): boolean {
  return status?.conditions?.some(({ type, status }) => type === 'Ready' && status !== 'True') ?? false;
}
