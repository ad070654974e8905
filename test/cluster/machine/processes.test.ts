import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { hasEnded, processesOf } from '../../../cluster/machine/processes.ts';
import { waitFor } from '../../../hack/run.ts';

/** A parent that reaps no children. The child's main thread ends at once, its second thread on input. */
const LAST_THREAD = `
import ctypes, os, sys, threading
child = os.fork()
if child == 0:
    threading.Thread(target=sys.stdin.readline).start()
    ctypes.CDLL(None).pthread_exit(None)
print(child, flush=True)
threading.Event().wait()
`;

it('counts a process as ended only after its last thread', async () => {
  const parent = spawn('python3', ['-c', LAST_THREAD], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const [child] = (await once(parent.stdout, 'data')) as [Buffer];
    const stat = () => readFileSync(`/proc/${String(child).trim()}/stat`, 'utf8');
    const inState = (wanted: RegExp) => async () => (wanted.test(stat()) ? true : undefined);
    await waitFor('the first thread to end', 10_000, inState(/\) Z /));
    assert.equal(hasEnded(stat()), false);
    parent.stdin.end('\n');
    await waitFor('the last thread to end', 10_000, async () => hasEnded(stat()) || undefined);
    assert.match(stat(), /\) Z /);
  } finally {
    parent.kill('SIGKILL');
  }
});

it('finds the machines of a cluster, and none of a cluster whose name begins alike', async (t) => {
  const machines = ['/clusters/test/node-1', '/clusters/test', '/clusters/test-2/node-1', '/clusters/test-2'];
  const pids = machines.map((directory) => {
    const machine = spawn('sh', ['-c', 'read line', '/machine-init.sh', directory]);
    t.after(() => machine.kill('SIGKILL'));
    return machine.pid;
  });
  const found = (directory: string) => processesOf(directory).map(({ pid }) => pid);
  assert.deepEqual(found('/clusters/test').sort(), pids.slice(0, 2).sort());
  assert.deepEqual(found('/clusters/test/node-1'), pids.slice(0, 1));
});
