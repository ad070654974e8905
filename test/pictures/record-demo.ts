import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPO } from '../../hack/paths.ts';
import { type PrintedLine, terminalSvg } from './terminal-svg.ts';

/**
 * Runs the demo and writes its output to docs/images: the acts on one node to demo-node.svg, those on the cluster to
 * demo.svg. `npx tsx test/pictures/record-demo.ts`, as root.
 */
const startMs = performance.now();
const demo = spawn(process.execPath, ['cluster/demo/main.ts', '--name', 'recorded'], {
  cwd: REPO,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const ended = once(demo, 'exit');
const lines: PrintedLine[] = [];
for await (const text of createInterface({ input: demo.stdout })) {
  console.log(text);
  lines.push({ atMs: performance.now() - startMs, text });
}
const [code] = (await ended) as [number | null];
if (code !== 0) throw new Error(`The demo ended with ${code}`);
const cluster = lines.findIndex(({ text }) => text.includes('A real cluster on this machine'));
const end = lines.findIndex(({ text }) => text.includes('To try next'));
await record('demo-node.svg', lines.slice(0, cluster));
await record('demo.svg', lines.slice(cluster, end - 1));

async function record(file: string, shown: readonly PrintedLine[]): Promise<void> {
  const begunMs = shown[0]?.atMs ?? 0;
  const command = { atMs: 0, text: '$ npm run demo' };
  const later = shown.map(({ atMs, text }) => ({ atMs: atMs - begunMs, text }));
  await writeFile(join(REPO, 'docs/images', file), terminalSvg([command, ...later]));
}
