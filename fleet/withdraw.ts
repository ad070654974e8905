import type { V1Node, V1Pod } from '@kubernetes/client-node';
import { AGENT_SELECTOR, NAMESPACE } from '../agent/installed.ts';
import type { Kube } from '../agent/kube/client.ts';
import { OWN_KEYS } from '../agent/node/keys.ts';
import { conditionFor, type NodeObject } from '../agent/node/object.ts';
import { type AgentPod, agentPodOf } from './agents.ts';
import { type FleetNode, fleetNodeOf } from './node.ts';
import type { Patience } from './seen.ts';

/** What a withdrawal needs; `answers` tells whether the agent at an address still runs its loop. */
export type WithdrawOptions = {
  readonly kube: Kube;
  readonly patience: Patience;
  readonly answers: (address: string) => Promise<boolean>;
  /** Whether the brake is off still. */
  readonly allowed: () => boolean;
  /** The wall clock, milliseconds. */
  readonly wallMs: () => number;
  readonly signal: AbortSignal;
};

/** What came of it: the words for people where the label was withdrawn, or why it was kept. */
export type Withdrawal = { readonly message: string } | { readonly kept: string };

/**
 * Withdraws the label of a node whose agent is lost, unless what the API server says at this moment, or an answer of
 * the agent itself, speaks against it. Label and condition change in one write, bound to the version that was read.
 */
export async function withdraw(node: FleetNode, options: WithdrawOptions): Promise<Withdrawal> {
  const { kube, patience, answers, allowed, wallMs, signal } = options;
  const path = `/api/v1/nodes/${node.name}`;
  const whole = (await kube.get(path, signal)) as V1Node & NodeObject;
  const pods = await readAgentsOn(node.name, kube, signal);
  const kept = reasonToKeep(node, fleetNodeOf(whole), pods, { patience, wallMs: wallMs() });
  if (kept !== undefined) return { kept };
  for (const { address, name } of pods)
    if (address !== '' && (await answers(address)))
      return { kept: `the agent ${name} answers, and is not Ready` };
  if (!allowed()) return { kept: 'the brake came on' };
  const seconds = Math.round(patience.goneMs / 1_000);
  const message = `no agent on this node was Ready for ${seconds} s, so nobody would notice if gVisor broke`;
  const condition = conditionFor({ status: 'Unknown', reason: 'AgentLost', message }, whole, wallMs());
  const { uid, resourceVersion } = whole.metadata;
  const labels = { [OWN_KEYS.labels.ready]: 'false' };
  // Only what was proven becomes unknown: another word, which an earlier agent may have written apart from the label, stays.
  const proven = fleetNodeOf(whole).verdict?.status === 'True';
  const body = {
    metadata: { uid, resourceVersion, labels },
    ...(proven ? { status: { conditions: [condition] } } : {}),
  };
  await kube.patch(`${path}/status`, body, 'strategic', signal);
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
  { patience, wallMs }: { readonly patience: Patience; readonly wallMs: number },
): string | undefined {
  if (now.uid !== cached.uid) return 'the Node was recreated';
  if (now.label !== 'true') return 'the label is not "true" any more';
  if (!now.ready) return 'the Node is not Ready';
  if (!(wallMs - now.createdAtMs >= patience.nodeAgeMs)) return 'the Node is too young';
  const ready = pods.find((pod) => pod.ready);
  return ready === undefined ? undefined : `the agent ${ready.name} is Ready`;
}
