import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type FleetNode, fleetNodeOf } from '../../lib/fleet/objects.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';
import { SimulatedFleet } from '../lib/fleet/simulated-fleet.ts';
import { fleetNode, fleetNodeStatus } from './fleet.ts';
import { mebibytes, quantile } from './statistics.ts';

const SIZES = [15_000, 65_000, 130_000] as const;
/** Of a list of the API server. */
const PAGE = 500;
const TICKS = 20;

/** Head of {@link measureDecisions}. */
export const DECISIONS_HEAD = ['what', 'goal', ...SIZES.map((nodes) => `${nodes} nodes`)];

/** Measures the parts of the fleet controller that grow with the fleet, on generated objects, without an API server. */
export function measureDecisions(): string[][] {
  setFlagsFromString('--expose_gc');
  const collect = runInNewContext('gc') as () => void;
  const columns = SIZES.map((size) => measureSize(size, collect));
  return (
    columns[0]?.map(([what, goal], row) => [what, goal, ...columns.map((each) => each[row]?.[2] ?? '')]) ?? []
  );
}

function measureSize(
  size: number,
  collect: () => void,
): (readonly [what: string, goal: string, measured: string])[] {
  collect();
  const heapBefore = process.memoryUsage().heapUsed;
  const nodes: FleetNode[] = [];
  let parsedMs = 0;
  for (let first = 0; first < size; first += PAGE) {
    const text = pageOf(first, Math.min(PAGE, size - first));
    const begunMs = performance.now();
    const { items } = JSON.parse(text) as { items: Parameters<typeof fleetNodeOf>[0][] };
    nodes.push(...items.map(fleetNodeOf));
    parsedMs += performance.now() - begunMs;
  }
  const fleet = new SimulatedFleet(nodes.map(({ name }) => name));
  fleet.nodes = nodes;
  const ticksMs: number[] = [];
  for (let tick = 0; tick < TICKS; tick++) {
    fleet.nowMs += 2_000;
    const begunMs = performance.now();
    fleet.tick();
    ticksMs.push(performance.now() - begunMs);
  }
  collect();
  const heap = process.memoryUsage().heapUsed - heapBefore;
  const begunMs = performance.now();
  const view = JSON.stringify(sampleFleet(size));
  const viewMs = performance.now() - begunMs;
  const text = (share: number) => `${(quantile(ticksMs, share) ?? 0).toFixed(0)}`;
  return [
    ['the Nodes of all pages parsed', '', `${(parsedMs / 1_000).toFixed(1)} s`],
    ['a decision: median, largest', '≤ 1 s', `${text(0.5)}, ${text(1)} ms`],
    ['heap of nodes, agents and the last decision', '', `${mebibytes(heap)} MiB`],
    ['the view made and written as JSON', '', `${(viewMs / 1_000).toFixed(2)} s`],
    ['  its size', '', `${mebibytes(view.length)} MiB`],
  ];
}

/** As the API server sends it: a kubelet's Node with 50 images. */
function pageOf(first: number, count: number): string {
  const items = Array.from({ length: count }, (_, index) => {
    const node = fleetNode(`fleet-${first + index}`);
    return { ...node, ...fleetNodeStatus(), spec: {} };
  });
  return JSON.stringify({ items });
}
