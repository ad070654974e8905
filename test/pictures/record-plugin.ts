import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { AGENT_PODS, DAEMON_SET_PATH, openFleet, setReport } from '../kubectl/fleet.ts';
import { agentObject, agentStatus, nodeObject } from '../kubectl/fleet-objects.ts';
import { terminalSvg } from './terminal-svg.ts';

const numbered = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, at) => `${prefix}-${at + 1}`);
const SANDBOXES = numbered('sandbox', 60);
const OTHERS = numbered('general', 240);
const NOT_EXPECTED = { ready: 'false', status: 'False', reason: 'HandlerNotConfigured', expected: false };

/** Writes docs/images: `npx tsx test/pictures/record-plugin.ts`. */
async function record(name: string, command: string, text: string): Promise<void> {
  const lines = [`$ kubectl gvisor-ready ${command}`, ...text.trimEnd().split('\n')];
  await writeFile(
    join(REPO, 'docs/images', name),
    terminalSvg(lines.map((line) => ({ atMs: 0, text: line }))),
  );
}

test('status of a mixed fleet of 300 nodes behind a fake API server', async (t) => {
  const { api, run } = await openFleet(t);
  const names = [...SANDBOXES, ...OTHERS];
  api.list('/api/v1/nodes', [
    ...SANDBOXES.map((name) => nodeObject(name)),
    ...OTHERS.map((name) => nodeObject(name, NOT_EXPECTED)),
  ]);
  api.list(
    AGENT_PODS,
    names.map((name) => agentObject(name)),
  );
  const all = names.length;
  api.stubs.set(DAEMON_SET_PATH, { status: { desiredNumberScheduled: all, numberReady: all } });
  for (const name of names) setReport(api, name, agentStatus(name));
  const { out } = await run('status', { width: 112 });
  await record('status.svg', 'status', out.replace('fake', 'production'));
  process.stdout.write(out);
});

test('why a node is not ready, a screen of the tests', async () => {
  const screens = await readFile(join(REPO, 'test/kubectl/screens/why-node.txt'), 'utf8');
  const [, text = ''] = /^## [^\n]*\n(.*?)\n# exit/s.exec(screens) ?? [];
  await record('why.svg', 'why node-3', text);
});
