import type { AgentStatus } from '../../../lib/fleet/agent-status.ts';
import type { FleetNode } from '../../../lib/fleet/objects.ts';
import { type FleetState, type FleetView, viewFleet } from '../../../lib/fleet/view.ts';
import { EMPTY_FLEET, KVM, simulatedAgent, simulatedNode } from './simulated-fleet.ts';

export const SINCE = '2026-11-25T09:00:00Z';
const verdictOf = (status: string, reason: string, message: string) => ({
  label: 'false',
  verdict: { status, reason, message, since: SINCE },
});

type Sample = {
  readonly nodes: readonly FleetNode[];
  readonly isAgentReady?: (name: string) => boolean;
  readonly statusOf?: (name: string) => Partial<AgentStatus>;
};

function viewOf(
  { nodes, isAgentReady = () => true, statusOf = () => ({}) }: Sample,
  state: Partial<FleetState> = {},
): FleetView {
  const pods = nodes.map(({ name }) => simulatedAgent(name, { ready: isAgentReady(name) }));
  const ready = pods.filter((pod) => pod.ready).length;
  return viewFleet({
    ...EMPTY_FLEET,
    nowMs: 20_000,
    nodes,
    pods,
    agents: { observed: true, desired: nodes.length, ready },
    statusOf: (name) => ({ version: '0.1.0', provenAt: SINCE, readMs: 10_000, ...statusOf(name) }),
    guards: { isRequired: true, missing: [] },
    ...state,
  });
}

/**
 * A fleet in which one of ten nodes is broken and one unknown; the first is labelled without an agent, and
 * two sandboxes of node-9 hang.
 */
export function sampleFleet(size: number, changes: Partial<FleetView> = {}): FleetView {
  const nodes = Array.from({ length: size }, (_, index) => {
    const broken =
      index % 10 === 3 ? verdictOf('False', 'ShimNotFound', 'no "containerd-shim-runsc-v1" in /usr/bin') : {};
    const unknown =
      index % 10 === 7 ? verdictOf('Unknown', 'NotVisible', '/etc/containerd <b>is</b> not mounted') : {};
    return simulatedNode(`node-${index}`, { gvisor: 'release-20260223.0', ...broken, ...unknown });
  });
  const view = viewOf({
    nodes,
    isAgentReady: (name) => name !== 'node-0',
    statusOf: (name) => (name === 'node-9' ? { sandboxes: { problems: 2, unsafe: true } } : {}),
  });
  return { ...view, ...changes };
}

const BARE = {
  ...verdictOf('False', 'HandlerNotConfigured', 'containerd has no handler "runsc"'),
  expected: false,
};

/** A healthy fleet of 300 nodes, of which 60 should run gVisor; one node is cordoned and one of the others is NotReady. */
export function mixedFleet(): FleetView {
  return viewOf({ nodes: mixedNodes() });
}

/** The same fleet with two additional handlers; one is lost on two nodes, and on another was never proven. */
export function fleetOfHandlers(): FleetView {
  const nodes = mixedNodes().map((node, index) => {
    if (node.expected === false) return { ...node, handlers: [{ ...KVM, label: 'false', provenBoot: '' }] };
    const label = [3, 11, 17].includes(index) ? 'false' : 'true';
    const kvm = { ...KVM, label, provenBoot: index === 17 ? '' : 'boot-1' };
    return { ...node, handlers: [kvm, { ...KVM, handler: 'runsc-nested' }] };
  });
  return viewOf({ nodes });
}

function mixedNodes(): readonly FleetNode[] {
  return Array.from({ length: 300 }, (_, index) => {
    const name = index < 60 ? `sandbox-${index + 1}` : `general-${index - 59}`;
    if (index >= 60) return simulatedNode(name, { ...BARE, ready: index !== 99 });
    return simulatedNode(name, { gvisor: 'release-20260223.0', cordoned: index === 41 });
  });
}

/** The same fleet in trouble: the controller can write nothing, pods run outside gVisor, and nodes are broken in many ways. */
export function burningFleet(): FleetView {
  const broken: Readonly<Record<number, Partial<FleetNode>>> = {
    4: verdictOf('False', 'ShimNotFound', 'containerd cannot find "containerd-shim-runsc-v1" in its PATH'),
    5: verdictOf('False', 'ShimNotFound', 'containerd cannot find "containerd-shim-runsc-v1" in its PATH'),
    6: verdictOf('False', 'SandboxFailed', 'a sandbox did not start: runsc: permission denied'),
    7: verdictOf('Unknown', 'ContainerdUnreachable', 'containerd does not answer on its socket'),
    8: { ready: false },
    9: verdictOf('Unknown', 'AgentLost', 'no agent on this node was Ready for 90 s'),
  };
  const nodes = mixedNodes().map((node, index) => ({ ...node, ...broken[index] }));
  const lost = ['sandbox-1', 'sandbox-2', 'sandbox-3', 'sandbox-10'];
  return viewOf(
    {
      nodes,
      isAgentReady: (name) => !lost.includes(name),
      statusOf: (name) =>
        name === 'sandbox-20'
          ? { pods: { violating: 2, weakened: 0, open: 0 }, sandboxes: { problems: 2, unsafe: true } }
          : {},
    },
    {
      guards: {
        isRequired: true,
        missing: [
          { guard: 'gvisor-ready-agent', effect: 'unbound', danger: 'an agent could write other nodes' },
        ],
      },
      breaker: ['TooManyLost'],
      paused: ['sandbox-1', 'sandbox-2', 'sandbox-3'],
      failedWrites: new Map([['sandbox-9', 'PATCH /api/v1/nodes/sandbox-9/status: 403 forbidden']]),
      damped: ['sandbox-10'],
    },
  );
}
