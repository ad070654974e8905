import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CLUSTERS } from '../../cluster/plan/clusters.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { changesBetween, type MachineState, machineState } from '../e2e/machine-state.ts';

const NAME = 'cleanup';
const CLI = ['cluster/commands/main.ts', '--name', NAME];
const DIR = join(CLUSTERS, NAME);

/** Files that appear while `up` runs, in order. */
const MOMENTS = [
  ['before the control plane', join(DIR, 'pki')],
  ['while the control plane starts', join(DIR, 'control-plane/kube-apiserver.log')],
  ['while a node starts', join(DIR, 'nodes/node-2/init.log')],
  ['while a kubelet starts', join(DIR, 'nodes/node-3/kubelet.log')],
] as const;

let clean: MachineState;
before(async () => {
  await down();
  clean = await machineState(NAME);
});
after(down);

function cluster(...args: readonly string[]): Promise<string> {
  return run(process.execPath, [...CLI, ...args], { cwd: REPO, timeoutMs: 120_000 });
}

async function down(): Promise<void> {
  await cluster('down');
}

/** Starts `up` and sends SIGKILL once `file` exists. */
async function killUpAt(file: string): Promise<void> {
  const up = spawn(process.execPath, [...CLI, 'up'], { cwd: REPO, stdio: 'ignore' });
  const closed = once(up, 'close');
  await waitFor(file, 120_000, async () => existsSync(file), 5);
  up.kill('SIGKILL');
  await closed;
}

async function assertClean(): Promise<void> {
  await down();
  // The kernel removes a network namespace after its last process has ended.
  await waitFor('the machine to be as before', 5_000, async () => {
    assert.deepEqual(changesBetween(clean, await machineState(NAME)), []);
    return true;
  });
}

for (const [moment, file] of MOMENTS) {
  test(`down cleans up after an up killed ${moment}`, async () => {
    await killUpAt(file);
    await assertClean();
  });
}

test('a second up completes a killed one, a third changes nothing, and down leaves nothing', async () => {
  await killUpAt(MOMENTS[2][1]);
  assert.match(await cluster('up'), /The cluster "cleanup" is up: 3 nodes Ready/);
  const there = await machineState(NAME);
  const made = changesBetween(clean, there).join('\n');
  assert.match(made, /^\+ processes: .*kubelet/m);
  assert.match(made, /^\+ cgroups: .*\/gvisor-ready\/cleanup\//m);
  assert.match(made, /^\+ files: .*\/clusters\/cleanup\//m);
  assert.match(await cluster('up'), /3 nodes Ready/);
  assert.deepEqual(changesBetween(there, await machineState(NAME)), []);
  const ready = await cluster('kubectl', 'get', 'nodes', '--no-headers');
  assert.equal(ready.match(/ Ready /g)?.length, 3, ready);
  await assertClean();
});
