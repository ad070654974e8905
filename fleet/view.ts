import { OWN_KEYS } from '../agent/node/object.ts';
import { BREAKER_REASONS, type BreakerReason } from './decide.ts';
import type { AgentPod, AgentSet, FleetNode } from './objects.ts';
import type { AgentStatus } from './reports.ts';
import { noteOf, type Rollout, rolloutOf } from './rollout.ts';

/** The state of a node; "none" where it has no condition. */
export type State = 'proven' | 'not' | 'unknown' | 'none';

/** One node in the table; unknown texts are "". */
export type Row = {
  readonly name: string;
  readonly state: State;
  /** Sort key: 0 needs attention most. */
  readonly rank: number;
  readonly label: string;
  readonly reason: string;
  readonly message: string;
  readonly since: string;
  readonly provenAt: string;
  readonly nodeReady: boolean;
  /** Sandboxes with a problem; 0 where that is unknown. */
  readonly problems: number;
  /** Whether a restart of containerd would harm pods. */
  readonly unsafe: boolean;
  /** What is wrong with the installation there; "" where nothing is. */
  readonly installer: string;
  readonly agent: 'ready' | 'not ready' | 'none';
  /** Releases of gVisor, containerd and the agent. */
  readonly gvisor: string;
  readonly containerd: string;
  readonly version: string;
};

/** The fleet as on the page and at /fleet. */
export type FleetView = {
  /** Whether all watches are up; otherwise the view is the last known state. */
  readonly upToDate: boolean;
  readonly counts: Readonly<Record<State, number>>;
  readonly agents: { readonly desired: number; readonly ready: number };
  /** Names of Ready, labelled nodes without a Ready agent. */
  readonly withoutAgent: readonly string[];
  /** Names of nodes with a problem of a sandbox. */
  readonly withProblems: readonly string[];
  /** Why the circuit breaker is open; empty when it is closed. */
  readonly breaker: readonly { readonly reason: BreakerReason; readonly meaning: string }[];
  /** Names of the nodes whose withdrawal is paused. */
  readonly paused: readonly string[];
  /** The proven node whose proof is the oldest. */
  readonly oldestProof?: { readonly node: string; readonly at: string };
  readonly releases: Readonly<Record<'gvisor' | 'containerd' | 'agent', Readonly<Record<string, number>>>>;
  /** Absent where the installer was used on no node. */
  readonly rollout?: Rollout;
  readonly nodes: readonly Row[];
};

/** Input of {@link viewFleet}. */
export type FleetState = {
  readonly upToDate: boolean;
  readonly nodes: readonly FleetNode[];
  readonly pods: readonly AgentPod[];
  readonly agents: AgentSet | undefined;
  readonly statusOf: (node: string) => AgentStatus | undefined;
  readonly breaker: readonly BreakerReason[];
  readonly paused: readonly string[];
};

/** The fleet, nodes that need attention first. */
export function viewFleet(state: FleetState): FleetView {
  const { upToDate, nodes, pods, agents, statusOf, breaker, paused } = state;
  const podOf = new Map<string, AgentPod>();
  for (const pod of pods) if (pod.ready || !podOf.has(pod.node)) podOf.set(pod.node, pod);
  const rows = nodes
    .filter(({ os }) => os !== 'windows')
    .map((node) => rowOf(node, podOf.get(node.name), statusOf(node.name)))
    .sort((a, b) => a.rank - b.rank || a.name.localeCompare(b.name, 'en', { numeric: true }));
  const counts = { proven: 0, not: 0, unknown: 0, none: 0 };
  for (const { state } of rows) counts[state]++;
  const proofs = rows.filter(({ state, provenAt }) => state === 'proven' && provenAt !== '');
  const oldest = proofs.reduce<Row | undefined>(
    (old, row) => (old === undefined || row.provenAt < old.provenAt ? row : old),
    undefined,
  );
  const rollout = rolloutOf(
    rows.flatMap(({ name }) => {
      const { installation } = statusOf(name) ?? {};
      return installation === undefined ? [] : [[name, installation] as const];
    }),
  );
  return {
    upToDate,
    counts,
    agents: { desired: agents?.desired ?? 0, ready: agents?.ready ?? 0 },
    withoutAgent: rows.filter(isWithoutAgent).map(({ name }) => name),
    withProblems: rows.filter(({ problems }) => problems > 0).map(({ name }) => name),
    breaker: breaker.map((reason) => ({ reason, meaning: BREAKER_REASONS[reason] })),
    paused,
    ...(oldest === undefined ? {} : { oldestProof: { node: oldest.name, at: oldest.provenAt } }),
    releases: {
      gvisor: tally(rows.map(({ gvisor }) => gvisor)),
      containerd: tally(rows.map(({ containerd }) => containerd)),
      agent: tally(rows.map(({ version }) => version)),
    },
    ...(rollout && { rollout }),
    nodes: rows,
  };
}

function rowOf(node: FleetNode, pod: AgentPod | undefined, agent: AgentStatus | undefined): Row {
  const { status, reason = '', message = '', since = '' } = node.verdict ?? {};
  const row = {
    name: node.name,
    state: stateOf(status),
    label: node.label,
    reason,
    message,
    since,
    provenAt: agent?.provenAt ?? '',
    nodeReady: node.ready,
    problems: agent?.sandboxes?.problems ?? 0,
    unsafe: agent?.sandboxes?.unsafe ?? false,
    installer: noteOf(agent?.installation ?? {}),
    agent: pod === undefined ? 'none' : pod.ready ? 'ready' : 'not ready',
    gvisor: node.labels[OWN_KEYS.labels.runscVersion] ?? '',
    containerd: node.runtime.replace(/^containerd:\/\//, ''),
    version: agent?.version || (pod?.version ?? ''),
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

/** Labels without an agent, then broken and unknown nodes, those with hanging sandboxes or a failed installation, and self-healing ones. */
function rankOf(row: Omit<Row, 'rank'>): number {
  if (isWithoutAgent(row)) return 0;
  if (row.reason === 'AgentLost') return 1;
  if (!row.nodeReady) return 5;
  const rank = { not: 2, unknown: 3, none: 6, proven: 7 }[row.state];
  return row.problems > 0 || row.installer !== '' ? Math.min(rank, 4) : rank;
}

function tally(values: readonly string[]): Record<string, number> {
  // Not an object: a value may be "constructor".
  const counts = new Map<string, number>();
  for (const value of values) if (value !== '') counts.set(value, (counts.get(value) ?? 0) + 1);
  return Object.fromEntries(counts);
}
