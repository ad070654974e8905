import { type FleetView, viewFleet } from '../../fleet/view.ts';
import { simulatedAgent, simulatedNode } from './simulated-fleet.ts';

export const SINCE = '2026-11-25T09:00:00Z';
const GVISOR = 'gvisor.node-restriction.kubernetes.io/runsc-version';
const verdictOf = (status: string, reason: string, message: string) => ({
  label: 'false',
  verdict: { status, reason, message, since: SINCE },
});

/**
 * A fleet in which one of ten nodes is broken and one unknown; the first is labelled without an agent, and
 * two sandboxes of node-9 hang.
 */
export function sampleFleet(size: number, changes: Partial<FleetView> = {}): FleetView {
  const names = Array.from({ length: size }, (_, index) => `node-${index}`);
  const labels = { [GVISOR]: 'release-20260223.0' };
  const nodes = names.map((name, index) => {
    const broken =
      index % 10 === 3 ? verdictOf('False', 'ShimNotFound', 'no "containerd-shim-runsc-v1" in /usr/bin') : {};
    const unknown =
      index % 10 === 7 ? verdictOf('Unknown', 'NotVisible', '/etc/containerd <b>is</b> not mounted') : {};
    return simulatedNode(name, { labels: { ...labels, pool: `p${index % 2}` }, ...broken, ...unknown });
  });
  const pods = names.map((name, index) => simulatedAgent(name, { ready: index > 0 }));
  const view = viewFleet({
    upToDate: true,
    nodes,
    pods,
    agents: { observed: true, desired: size, ready: size - 1 },
    statusOf: (name) => ({
      version: '0.1.0',
      provenAt: SINCE,
      ...(name === 'node-9' ? { sandboxes: { problems: 2, unsafe: true } } : {}),
    }),
    breaker: [],
    paused: [],
  });
  return { ...view, ...changes };
}
