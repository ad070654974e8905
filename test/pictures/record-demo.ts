import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPO } from '../../hack/paths.ts';
import { type PrintedLine, terminalSvg } from './terminal-svg.ts';

/** Runs the demo and writes its output to docs/images/demo.svg: `npx tsx test/pictures/record-demo.ts`, as root. */
const startMs = performance.now();
const demo = spawn(process.execPath, ['cluster/demo.ts'], {
  cwd: REPO,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const ended = once(demo, 'exit');
const lines: PrintedLine[] = [{ atMs: 0, text: '$ npm run demo' }];
for await (const text of createInterface({ input: demo.stdout })) {
  console.log(text);
  lines.push({ atMs: performance.now() - startMs, text });
}
const [code] = (await ended) as [number | null];
if (code !== 0) throw new Error(`The demo ended with ${code}`);
const end = lines.findIndex(({ text }) => text.includes('To try next'));
await writeFile(join(REPO, 'docs/images/demo.svg'), terminalSvg(lines.slice(0, end - 1)));
