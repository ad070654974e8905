import { join } from 'node:path';
import { print } from '../../hack/progress.ts';
import { pause as sleep } from '../../hack/run.ts';
import { shortIds } from '../../lib/report/format.ts';
import { nextSteps } from '../../lib/report/next-steps.ts';
import { truncateText } from '../../lib/report/table.ts';
import { ClusterNode } from '../node/node.ts';
import { OutsideAgent, programOfImage, type SeenVerdict } from '../node/outside-agent.ts';
import { CLUSTERS } from '../plan/clusters.ts';
import { planNodes } from '../plan/nodes.ts';
import type { Image } from '../tools/images.ts';
import { bold, done, say, screenWidth, title } from './screen.ts';

/** All that these acts need. */
export const NODE_TOOLS = ['containerd', 'gvisor'] as const;

/** Seconds in which a person reads a screen of it. */
const READING_S = process.stdout.isTTY ? 3 : 0;
const METRICS = /^gvisor_ready_(node_status|node_reason|last_proof|last_boot|proofs_total)\S* .*$/gm;
const PAGE_LINES = 21;

/** The directory of the node beside those of clusters, by which it is removed. */
export function nodeActsName(demo: string): string {
  return `${demo}-node`;
}

/** A node without Kubernetes is proven, broken and repaired, and removed by the caller. */
export async function playNodeActs(name: string, pauseImage: Image): Promise<void> {
  const [spec] = planNodes([{ name: 'node-1' }]);
  if (spec === undefined) throw new Error('No place for the node');
  const node = new ClusterNode(spec, join(CLUSTERS, name, spec.name));
  await node.startRuntime([pauseImage]);
  const agent = new OutsideAgent(node, {}, programOfImage());
  try {
    await play(node, agent);
  } finally {
    await agent.stop();
  }
}

async function play(node: ClusterNode, agent: OutsideAgent): Promise<void> {
  say(
    "The agent boots a sandbox through the handler that pods use, and sees from the host and by the sentry's own answer that it is gVisor.",
  );
  const proven = await agent.proven();
  done(`proven ${secondsAfter(agent.startedMs, proven)} after the start of the agent`);
  tellVerdict(proven);

  title('The gVisor shim goes, as a bad upgrade would take it');
  const gvisor = await node.gvisor();
  if (gvisor === undefined) throw new Error('The node has no gVisor');
  const brokenMs = performance.now();
  await node.remove(gvisor.shim);
  const lost = await agent.change(1, ({ status }) => status === 'False');
  done(`not ready ${secondsAfter(brokenMs, lost)} after the file went, confirmed by a second evaluation`);
  tellVerdict(lost);
  const report = await agent.report();
  // Not the remedies of warnings: this node has no CNI plugins, for it is no cluster's.
  const steps = report === undefined ? [] : nextSteps(report).filter(({ reason }) => reason === lost.reason);
  for (const { remedy } of steps) say(`What to do: ${remedy}`);
  await sleep(READING_S);

  title('The shim is put back');
  const repairedMs = performance.now();
  await node.installProgram(gvisor, 'shim');
  const again = await agent.change(2, ({ status }) => status === 'True');
  done(`proven again ${secondsAfter(repairedMs, again)} later, by a fresh sandbox`);

  title('What Prometheus scrapes, and the page that people read');
  say(`$ curl ${agent.url}/metrics`);
  const metrics = await read(`${agent.url}/metrics`);
  for (const [line] of metrics.matchAll(METRICS)) show(line);
  say(`$ curl ${agent.url}/`);
  for (const line of (await read(`${agent.url}/`)).split('\n').slice(0, PAGE_LINES)) show(line);
  await sleep(READING_S);
}

function secondsAfter(begunMs: number, { atMs }: SeenVerdict): string {
  return bold(`${((atMs - begunMs) / 1000).toFixed(2)} s`);
}

function tellVerdict({ status, reason, message }: SeenVerdict): void {
  say(`GVisorReady=${status} ${reason}: ${shortIds(message)}`);
}

/** A line of a program's output, cut at the edge of the screen. */
function show(line: string): void {
  print(truncateText(`   ${line}`, screenWidth()));
}

async function read(url: string): Promise<string> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`GET ${url} answers ${response.status}`);
  return response.text();
}
