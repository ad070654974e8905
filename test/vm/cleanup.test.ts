import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { removeCluster } from '../../cluster/remove.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { changesBetween, type MachineState, machineState } from '../e2e/machine-state.ts';

const NAME = 'vm-cleanup';

let clean: MachineState;
before(async () => {
  await removeCluster(NAME);
  clean = await machineState(NAME);
});
after(() => removeCluster(NAME));

test('down removes qemu, its network and its disk after an up killed while a virtual machine starts', async () => {
  const args = ['--name', NAME, 'up', '--node', 'name=node-1,machine=vm'];
  const up = spawn(process.execPath, ['cluster/commands/main.ts', ...args], { cwd: REPO, stdio: 'ignore' });
  const closed = once(up, 'close');
  await waitFor('qemu to start', 240_000, async () => {
    const { processes = [] } = await machineState(NAME);
    return processes.some((line) => /^\d+ qemu-system-x86_64 -accel/.test(line));
  });
  up.kill('SIGKILL');
  await closed;
  assert.match(
    changesBetween(clean, await machineState(NAME)).join('\n'),
    /^\+ processes: \d+ qemu-system-x86_64 -accel/m,
  );
  await removeCluster(NAME);
  await waitFor('the machine state to be restored', 10_000, async () => {
    assert.deepEqual(changesBetween(clean, await machineState(NAME)), []);
    return true;
  });
});
