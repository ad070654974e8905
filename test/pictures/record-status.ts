import { writeFile } from 'node:fs/promises';
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

/** Writes docs/images/status.svg, the plugin's status of a mixed fleet of 300 nodes behind a fake API server: `npx tsx test/pictures/record-status.ts`. */
test('record', async (t) => {
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
  const lines = ['$ kubectl gvisor-ready status', ...out.replace('fake', 'production').trimEnd().split('\n')];
  await writeFile(
    join(REPO, 'docs/images/status.svg'),
    terminalSvg(lines.map((text) => ({ atMs: 0, text }))),
  );
  process.stdout.write(out);
});
