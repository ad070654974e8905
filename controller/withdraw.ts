import type { V1Node, V1Pod } from '@kubernetes/client-node';
import {
  type AgentPod,
  agentPodOf,
  type FleetNode,
  fleetNodeOf,
  hasFailedBefore,
  isExposed,
  isFailing,
  isLabelled,
  readyLabels,
  staleLabels,
} from '../lib/fleet/objects.ts';
import { describeRefutation, refutationOf, statementOf } from '../lib/fleet/refutation.ts';
import { AGENT_SELECTOR } from '../lib/kube/access.ts';
import type { Kube } from '../lib/kube/client.ts';
import { conditionFor, keysOf, type NodeObject, OWN_KEYS, taintPatch } from '../lib/report/node-object.ts';
import { rebootMessage, type Verdict } from '../lib/report/verdict.ts';

type WriteOptions = {
  readonly kube: Kube;
  /** The wall clock, milliseconds. */
  readonly wallMs: () => number;
  readonly signal: AbortSignal;
};

export type WithdrawOptions = WriteOptions & {
  readonly namespace: string;
  /** How long no agent was Ready, at least. */
  readonly timeoutMs: number;
  /** Whether the agent still runs its loop. */
  readonly isAgentLive: (address: string) => Promise<boolean>;
  /** Whether the circuit breaker is still closed. */
  readonly isAllowed: () => boolean;
};

/** The number of labels withdrawn, or why they were kept. */
export type Withdrawal = { readonly message: string; readonly labels: number } | { readonly kept: string };

/**
 * Withdraws what a lost agent said, unless a live read or the agent contradicts. One write, bound to the
 * resourceVersion that was read. The circuit breaker keeps labels alone: no pod needs a failure.
 */
export async function withdraw(node: FleetNode, options: WithdrawOptions): Promise<Withdrawal> {
  const { timeoutMs, isAgentLive, isAllowed } = options;
  const whole = await readNode(node.name, options);
  const pods = await readAgentsOn(node.name, options);
  const now = fleetNodeOf(whole);
  const kept = reasonToKeep(node, now, pods);
  if (kept !== undefined) return { kept };
  for (const { address, name } of pods)
    if (address !== '' && (await isAgentLive(address)))
      return { kept: `the agent ${name} answers, but is not Ready` };
  const labels = isAllowed() ? readyLabels(now) : [];
  const fails = isFailing(now);
  if (labels.length === 0 && !fails) return { kept: 'the circuit breaker opened' };
  const seconds = Math.round(timeoutMs / 1_000);
  const unseen = fails ? 'repair' : 'failure';
  const message = `no agent on this node was Ready for ${seconds} s, so a ${unseen} of gVisor would go unnoticed`;
  return writeWithdrawal(whole, { labels, condition: fails }, { reason: 'AgentLost', message }, options);
}

export type RefutedOptions = Pick<WithdrawOptions, keyof WriteOptions | 'namespace'> & {
  /** Whether the API server is not away. */
  readonly isAllowed: () => boolean;
  /** Rejects without a report. */
  readonly fetchReport: (address: string) => Promise<unknown>;
};

/** Unless a live read contradicts: every agent there that answers must refute the same again. */
export async function withdrawRefuted(
  { name, uid }: FleetNode,
  options: RefutedOptions,
): Promise<Withdrawal> {
  const whole = await readNode(name, options);
  const now = fleetNodeOf(whole);
  if (now.uid !== uid) return { kept: 'the Node was recreated' };
  if (!now.ready) return { kept: 'the Node is not Ready' };
  const addresses = (await readAgentsOn(name, options)).flatMap(({ address }) => address || []);
  const reports = await Promise.allSettled(addresses.map(options.fetchReport));
  const answers = reports.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const statements = answers.map((report) => statementOf(report, name));
  const [statement] = statements;
  const refutations = statements.map((each) => refutationOf(now, each));
  const labels = readyLabels(now).filter(({ handler = '' }) =>
    refutations.every((each) => each?.labels.includes(handler)),
  );
  const condition = refutations.every((each) => each?.condition);
  if (statement === undefined || (labels.length === 0 && !condition))
    return { kept: 'its agent does not refute it any more' };
  if (!options.isAllowed()) return { kept: 'the circuit breaker opened' };
  const refutation = { labels: labels.map(({ handler = '' }) => handler), condition };
  const message = `the agent says ${describeRefutation(refutation, statement)}`;
  return writeWithdrawal(whole, { labels, condition }, { reason: 'AgentCannotWrite', message }, options);
}

/**
 * Unless a live read contradicts. Asks neither the agent nor the circuit breaker: a proof in the present boot
 * restores a label.
 */
export async function withdrawRebooted({ name, uid }: FleetNode, options: WriteOptions): Promise<Withdrawal> {
  const whole = await readNode(name, options);
  const now = fleetNodeOf(whole);
  const stale = staleLabels(now);
  const [first] = stale;
  const fails = hasFailedBefore(now);
  if (now.uid !== uid || (first === undefined && !fails))
    return { kept: 'the label is no longer of an earlier boot' };
  const whose = first?.handler === undefined ? '' : `handler "${first.handler}": `;
  const message = fails
    ? `gVisor failed in the boot ${now.failedBoot}, and was not tried yet in the present one, ${now.boot}`
    : `${whose}${rebootMessage(first?.provenBoot ?? '', now.boot)}`;
  return writeWithdrawal(
    whole,
    { labels: stale, condition: fails },
    { reason: 'NodeRebooted', message },
    options,
  );
}

/** The agent removes the taint once the Node is Ready and proven. Resolves to whether it was written. */
export async function taintExposed({ name, uid }: FleetNode, options: WriteOptions): Promise<boolean> {
  const { kube, signal } = options;
  const whole = await readNode(name, options);
  const now = fleetNodeOf(whole);
  const taint = { part: 'taint', key: OWN_KEYS.taint, value: 'NoSchedule' } as const;
  const patch = now.uid === uid && isExposed(now) ? taintPatch(whole, [taint]) : undefined;
  if (patch !== undefined) await kube.patch(`/api/v1/nodes/${name}`, patch, 'merge', signal);
  return patch !== undefined;
}

export async function readNode(
  name: string,
  { kube, signal }: Pick<WriteOptions, 'kube' | 'signal'>,
): Promise<V1Node & NodeObject> {
  return (await kube.get(`/api/v1/nodes/${name}`, signal)) as V1Node & NodeObject;
}

async function writeWithdrawal(
  whole: V1Node & NodeObject,
  {
    labels,
    condition: changes,
  }: { readonly labels: ReturnType<typeof readyLabels>; readonly condition: boolean },
  why: Pick<Verdict, 'reason' | 'message'>,
  { kube, wallMs, signal }: WriteOptions,
): Promise<Withdrawal> {
  const condition = conditionFor({ status: 'Unknown', ...why }, whole, wallMs());
  const { name, uid, resourceVersion } = whole.metadata;
  const keys = labels.map(({ handler }) => keysOf(handler).ready);
  const written = keys.length === 0 ? {} : { labels: Object.fromEntries(keys.map((key) => [key, 'false'])) };
  // The condition is the main handler's. An earlier agent may have written Unknown and left the label.
  const isWithdrawn =
    changes || (keys.includes(OWN_KEYS.labels.ready) && fleetNodeOf(whole).verdict?.status === 'True');
  const body = {
    metadata: { uid, resourceVersion, ...written },
    ...(isWithdrawn ? { status: { conditions: [condition] } } : {}),
  };
  await kube.patch(`/api/v1/nodes/${name}/status`, body, 'strategic', signal);
  return { message: condition.message, labels: keys.length };
}

async function readAgentsOn(
  node: string,
  { kube, namespace, signal }: Pick<WithdrawOptions, 'kube' | 'namespace' | 'signal'>,
): Promise<readonly AgentPod[]> {
  const query = new URLSearchParams({
    labelSelector: AGENT_SELECTOR,
    fieldSelector: `spec.nodeName=${node}`,
  });
  const path = `/api/v1/namespaces/${namespace}/pods?${query}`;
  return ((await kube.get(path, signal)) as { items: V1Pod[] }).items.flatMap((pod) => agentPodOf(pod) ?? []);
}

function reasonToKeep(cached: FleetNode, now: FleetNode, pods: readonly AgentPod[]): string | undefined {
  if (now.uid !== cached.uid) return 'the Node was recreated';
  if (!isLabelled(now) && !isFailing(now)) return 'the label is no longer "true"';
  if (!now.ready) return 'the Node is not Ready';
  const ready = pods.find((pod) => pod.ready);
  return ready === undefined ? undefined : `the agent ${ready.name} is Ready`;
}
