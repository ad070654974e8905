import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { print, printProblems } from '../lib/base/print.ts';
import type { EgressMessage } from '../lib/report/egress-message.ts';
import { parseEgressConfig } from './settings.ts';
import { tryAtStart } from './start.ts';
import { Watch } from './watch.ts';

const TERMINATION_LOG = '/dev/termination-log';
const PORT = 8080;
/** The sandbox's first process. */
const FIRST_PID = 1;

// No await: the image's bundle is CommonJS.
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});

async function main([mode]: readonly string[]): Promise<number> {
  const { config, problems } = parseEgressConfig(process.env);
  if (problems.length > 0) {
    writeFileSync(TERMINATION_LOG, problems.join('\n'));
    return printProblems(problems);
  }
  if (mode === 'start') return say(await tryAtStart(config));
  const watch = new Watch(config);
  const server = createServer((_, response) => response.writeHead(watch.isClosed ? 200 : 503).end());
  server.listen(PORT);
  const found = await watch.run();
  if (found !== undefined) {
    say(found);
    process.exit(1);
  }
  process.kill(FIRST_PID);
  return 0;
}

function say(message: EgressMessage): number {
  const text = JSON.stringify(message);
  writeFileSync(TERMINATION_LOG, text);
  return print(`${text}\n`);
}
