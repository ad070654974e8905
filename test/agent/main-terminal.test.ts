import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, it, type TestContext } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { emptyHost } from './agent-process.ts';

/** The agent on a terminal of 80 columns, which `script` of util-linux makes: what is shown there until a text is. */
async function onTerminal(t: TestContext, until: RegExp, args = ''): Promise<string> {
  const command = `stty columns 80; exec ${process.execPath} --import tsx agent/main.ts ${args}`;
  const env = { NODE_NAME: 'node-1', LISTEN_ADDRESS: '127.0.0.1:0', HOST_ROOT: await emptyHost(t) };
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    cwd: REPO,
    env: { PATH: process.env.PATH, TERM: 'xterm-256color', UNKNOWN_GRACE: '0s', ...env },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  let shown = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    shown += chunk;
    if (until.test(shown)) break;
  }
  child.kill('SIGTERM');
  return shown.replaceAll('\r\n', '\n');
}

describe('the agent on a terminal', () => {
  it('shows a coloured table, sentences instead of JSON, and the URL', {
    timeout: 30_000,
  }, async (t) => {
    const shown = await onTerminal(
      t,
      /over HTTP: http:\S+\s[\s\S]*cannot read the pods|cannot read the pods[\s\S]*over HTTP: http:\S+\s/,
    );
    assert.ok(shown.includes('\u001b[1mCannot tell whether gVisor works here\u001b'), shown);
    assert.match(shown, /^The same over HTTP: http:\/\/127\.0\.0\.1:\d+\/$/m);
    assert.match(shown, /^! cannot read the pods of this node: /m);
    assert.doesNotMatch(shown, /^\{/m);
  });

  it('shows the table of one look alone', { timeout: 30_000 }, async (t) => {
    const shown = await onTerminal(t, /What to do next/, '--once');
    assert.match(shown, /^ {2}\S*\?\S* A sandbox boots, is gVisor's, and goes away: as said above$/m);
    assert.doesNotMatch(shown, /^\{|over HTTP/m);
  });
});
