import type { V1Node, V1Pod } from '@kubernetes/client-node';
import { AGENT_SELECTOR, NAMESPACE } from '../agent/kube/access.ts';
import type { Kube } from '../agent/kube/client.ts';
import { rebootMessage } from '../agent/node/desired.ts';
import { conditionFor, type NodeObject, OWN_KEYS, taintPatch } from '../agent/node/object.ts';
import type { Verdict } from '../agent/verdict.ts';
import { type AgentPod, agentPodOf } from './agents.ts';
import type { Timeouts } from './decide.ts';
import { type FleetNode, fleetNodeOf, isExposed, isRebooted } from './node.ts';

/** What a write needs. */
type WriteOptions = {
  readonly kube: Kube;
  /** The wall clock, milliseconds. */
  readonly wallMs: () => number;
  readonly signal: AbortSignal;
};

/** What a withdrawal needs; `answers` tells whether the agent at an address still runs its loop. */
export type WithdrawOptions = WriteOptions & {
  readonly patience: Timeouts;
  readonly answers: (address: string) => Promise<boolean>;
  /** Whether the brake is off still. */
  readonly allowed: () => boolean;
};

/** What came of it: the words for people where the label was withdrawn, or why it was kept. */
export type Withdrawal = { readonly message: string } | { readonly kept: string };

/**
 * Withdraws the label of a node whose agent is lost, unless what the API server says at this moment, or an answer of
 * the agent itself, speaks against it. Label and condition change in one write, bound to the version that was read.
 */
export async function withdraw(node: FleetNode, options: WithdrawOptions): Promise<Withdrawal> {
  const { kube, patience, answers, allowed, wallMs, signal } = options;
  const whole = await readNode(node.name, options);
  const pods = await readAgentsOn(node.name, kube, signal);
  const kept = reasonToKeep(node, fleetNodeOf(whole), pods, { patience, wallMs: wallMs() });
  if (kept !== undefined) return { kept };
  for (const { address, name } of pods)
    if (address !== '' && (await answers(address)))
      return { kept: `the agent ${name} answers, and is not Ready` };
  if (!allowed()) return { kept: 'the brake came on' };
  const seconds = Math.round(patience.goneMs / 1_000);
  const message = `no agent on this node was Ready for ${seconds} s, so nobody would notice if gVisor broke`;
  return writeWithdrawal(whole, { status: 'Unknown', reason: 'AgentLost', message }, options);
}

/**
 * Withdraws the label of a node that was proven in an earlier boot, unless a live read says otherwise. No agent is asked and no
 * brake holds it: a proof of the present boot is the agent's to write, and restores the label.
 */
export async function withdrawRebooted({ name, uid }: FleetNode, options: WriteOptions): Promise<Withdrawal> {
  const whole = await readNode(name, options);
  const now = fleetNodeOf(whole);
  if (now.uid !== uid || !isRebooted(now)) return { kept: 'the label is not of an earlier boot any more' };
  const message = rebootMessage(now.provenBoot, now.boot);
  return writeWithdrawal(whole, { status: 'Unknown', reason: 'NodeRebooted', message }, options);
}

/**
 * Taints a labelled node that is not Ready, so that nothing is scheduled to it when it comes back in another boot. Its agent takes
 * the taint off once the Node is Ready and proven in that boot. Gives whether it was written.
 */
export async function taintExposed({ name, uid }: FleetNode, options: WriteOptions): Promise<boolean> {
  const { kube, signal } = options;
  const whole = await readNode(name, options);
  const now = fleetNodeOf(whole);
  const taint = { part: 'taint', key: OWN_KEYS.taint, value: 'NoSchedule' } as const;
  const patch = now.uid === uid && isExposed(now) ? taintPatch(whole, [taint]) : undefined;
  if (patch !== undefined) await kube.patch(`/api/v1/nodes/${name}`, patch, 'merge', signal);
  return patch !== undefined;
}

async function readNode(name: string, { kube, signal }: WriteOptions): Promise<V1Node & NodeObject> {
  return (await kube.get(`/api/v1/nodes/${name}`, signal)) as V1Node & NodeObject;
}

async function writeWithdrawal(
  whole: V1Node & NodeObject,
  verdict: Verdict,
  { kube, wallMs, signal }: WriteOptions,
): Promise<Withdrawal> {
  const condition = conditionFor(verdict, whole, wallMs());
  const { name, uid, resourceVersion } = whole.metadata;
  const labels = { [OWN_KEYS.labels.ready]: 'false' };
  // Only what was proven becomes unknown: another word, which an earlier agent may have written apart from the label, stays.
  const proven = fleetNodeOf(whole).verdict?.status === 'True';
  const body = {
    metadata: { uid, resourceVersion, labels },
    ...(proven ? { status: { conditions: [condition] } } : {}),
  };
  await kube.patch(`/api/v1/nodes/${name}/status`, body, 'strategic', signal);
  return { message: condition.message };
}

async function readAgentsOn(node: string, kube: Kube, signal: AbortSignal): Promise<readonly AgentPod[]> {
  const query = new URLSearchParams({
    labelSelector: AGENT_SELECTOR,
    fieldSelector: `spec.nodeName=${node}`,
  });
  const path = `/api/v1/namespaces/${NAMESPACE}/pods?${query}`;
  return ((await kube.get(path, signal)) as { items: V1Pod[] }).items.flatMap((pod) => agentPodOf(pod) ?? []);
}

function reasonToKeep(
  cached: FleetNode,
  now: FleetNode,
  pods: readonly AgentPod[],
  { patience, wallMs }: { readonly patience: Timeouts; readonly wallMs: number },
): string | undefined {
  if (now.uid !== cached.uid) return 'the Node was recreated';
  if (now.label !== 'true') return 'the label is not "true" any more';
  if (!now.ready) return 'the Node is not Ready';
  if (!(wallMs - now.createdAtMs >= patience.nodeAgeMs)) return 'the Node is too young';
  const ready = pods.find((pod) => pod.ready);
  return ready === undefined ? undefined : `the agent ${ready.name} is Ready`;
}
