import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CONFIG, scene } from './scene.ts';

it('first', async (t) => {
  const { install, state, said, restarts, journal } = await scene(t);
  try {
    await install();
  } finally {
    console.log(said.join('\n'), state(), restarts(), await journal(), CONFIG);
  }
  assert.ok(true);
});
