import { OWN_KEYS } from '../agent/node/object.ts';
import type { AgentPod, AgentSet } from './agents.ts';
import { BREAKER_REASONS, type BreakerReason } from './decide.ts';
import type { FleetNode } from './node.ts';
import type { AgentStatus } from './reports.ts';

/** How a node stands; "none" where no agent has said anything. */
export type State = 'proven' | 'not' | 'unknown' | 'none';

/** A row of the fleet: one node. What is not known is "". */
export type Row = {
  readonly name: string;
  readonly state: State;
  /** How much it needs a person: 0 the most. */
  readonly rank: number;
  readonly label: string;
  readonly reason: string;
  readonly message: string;
  readonly since: string;
  readonly provenAt: string;
  readonly nodeReady: boolean;
  readonly agent: 'ready' | 'not ready' | 'none';
  /** Releases of gVisor, containerd and the agent. */
  readonly gvisor: string;
  readonly containerd: string;
  readonly version: string;
};

/** The fleet as people and machines see it. */
export type FleetView = {
  /** Whether all watches stand; when not, this is what was last known. */
  readonly upToDate: boolean;
  readonly counts: Readonly<Record<State, number>>;
  readonly agents: { readonly desired: number; readonly ready: number };
  /** Names of labelled nodes that are Ready and have no Ready agent. */
  readonly withoutAgent: readonly string[];
  /** Why nothing is withdrawn, and which nodes are held; empty when nothing holds. */
  readonly breaker: readonly { readonly reason: BreakerReason; readonly meaning: string }[];
  readonly paused: readonly string[];
  /** The proven node whose proof is the oldest. */
  readonly oldestProof?: { readonly node: string; readonly at: string };
  readonly releases: Readonly<Record<'gvisor' | 'containerd' | 'agent', Readonly<Record<string, number>>>>;
  readonly nodes: readonly Row[];
};

/** What a view is made of. */
export type Known = {
  readonly current: boolean;
  readonly nodes: readonly FleetNode[];
  readonly pods: readonly AgentPod[];
  readonly agents: AgentSet | undefined;
  readonly word: (node: string) => AgentStatus | undefined;
  readonly breaker: readonly BreakerReason[];
  readonly paused: readonly string[];
};

/** The fleet with what needs a person first. */
export function viewFleet({ current, nodes, pods, agents, word, breaker, paused }: Known): FleetView {
  const podOf = new Map<string, AgentPod>();
  for (const pod of pods) if (pod.ready || !podOf.has(pod.node)) podOf.set(pod.node, pod);
  const rows = nodes
    .filter(({ os }) => os !== 'windows')
    .map((node) => rowOf(node, podOf.get(node.name), word(node.name)))
    .sort((a, b) => a.rank - b.rank || a.name.localeCompare(b.name, 'en', { numeric: true }));
  const counts = { proven: 0, not: 0, unknown: 0, none: 0 };
  for (const { state } of rows) counts[state]++;
  const proofs = rows.filter(({ state, provenAt }) => state === 'proven' && provenAt !== '');
  const oldest = proofs.reduce<Row | undefined>(
    (old, row) => (old === undefined || row.provenAt < old.provenAt ? row : old),
    undefined,
  );
  return {
    upToDate: current,
    counts,
    agents: { desired: agents?.desired ?? 0, ready: agents?.ready ?? 0 },
    withoutAgent: rows.filter(isWithoutAgent).map(({ name }) => name),
    breaker: breaker.map((reason) => ({ reason, meaning: BREAKER_REASONS[reason] })),
    paused,
    ...(oldest === undefined ? {} : { oldestProof: { node: oldest.name, at: oldest.provenAt } }),
    releases: {
      gvisor: tally(rows.map(({ gvisor }) => gvisor)),
      containerd: tally(rows.map(({ containerd }) => containerd)),
      agent: tally(rows.map(({ version }) => version)),
    },
    nodes: rows,
  };
}

function rowOf(node: FleetNode, pod: AgentPod | undefined, word: AgentStatus | undefined): Row {
  const { status, reason = '', message = '', since = '' } = node.verdict ?? {};
  const row = {
    name: node.name,
    state: stateOf(status),
    label: node.label,
    reason,
    message,
    since,
    provenAt: word?.provenAt ?? '',
    nodeReady: node.ready,
    agent: pod === undefined ? 'none' : pod.ready ? 'ready' : 'not ready',
    gvisor: node.labels[OWN_KEYS.labels.runscVersion] ?? '',
    containerd: node.runtime.replace(/^containerd:\/\//, ''),
    version: word?.version || (pod?.version ?? ''),
  } as const;
  return { ...row, rank: rankOf(row) };
}

function stateOf(status: string | undefined): State {
  if (status === undefined) return 'none';
  return status === 'True' ? 'proven' : status === 'False' ? 'not' : 'unknown';
}

function isWithoutAgent({ label, nodeReady, agent }: Omit<Row, 'rank'>): boolean {
  return label === 'true' && nodeReady && agent !== 'ready';
}

/** First a label that nobody looks after, then what is broken, then what is unknown, then what mends itself. */
function rankOf(row: Omit<Row, 'rank'>): number {
  if (isWithoutAgent(row)) return 0;
  if (row.reason === 'AgentLost') return 1;
  if (!row.nodeReady) return 4;
  return { not: 2, unknown: 3, none: 5, proven: 6 }[row.state];
}

function tally(words: readonly string[]): Record<string, number> {
  // Not an object: a word may be "constructor".
  const counts = new Map<string, number>();
  for (const word of words) if (word !== '') counts.set(word, (counts.get(word) ?? 0) + 1);
  return Object.fromEntries(counts);
}
