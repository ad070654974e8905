import assert from 'node:assert/strict';
import { it } from 'node:test';
import { reviveContainerd } from '../../installer/containerd.ts';
import { HANGS } from '../agent/proof/containerd-scripts.ts';
import { refusal, scene } from './scene.ts';

it('restarts a containerd that is stopped, and not one that is slow', async (t) => {
  const { node, containerd, script } = await scene(t);
  const revive = () => refusal(reviveContainerd({ ...node, restartCommand: 'exit 3' }, undefined));
  script({ Version: HANGS });
  assert.equal(await revive(), 'nothing was refused');
  await containerd.stop();
  assert.match(await revive(), /^restart: .*ended with 3/);
});
