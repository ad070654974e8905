import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containerdConfig, handlerTable, RUNTIME_TABLE } from '../../../cluster/node/config.ts';
import { planNodes } from '../../../cluster/node/plan.ts';

test('moves the handler into a table that this containerd does not read', () => {
  for (const [spec, read, ignored] of [
    [planNodes([{ containerd: '2' }])[0], RUNTIME_TABLE['2'], RUNTIME_TABLE['1.7']],
    [planNodes([{ containerd: '1.7' }])[0], RUNTIME_TABLE['1.7'], RUNTIME_TABLE['2']],
  ] as const) {
    assert.ok(spec);
    const config = containerdConfig(spec, handlerTable(spec, ignored));
    assert.ok(config.includes(`[${ignored}.containerd.runtimes.runsc]`));
    assert.ok(!config.includes(`[${read}.containerd.runtimes.runsc]`));
    assert.ok(config.includes(`[${read}.containerd.runtimes.runc]`));
    assert.ok(containerdConfig(spec).includes(`[${read}.containerd.runtimes.runsc]`));
  }
});
