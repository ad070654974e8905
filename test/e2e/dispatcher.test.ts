import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { breakAndWait } from '../../cluster/story.ts';
import { useDispatcher } from './dispatcher-cluster.ts';
import { FREE } from './dispatcher-run.ts';
import { GVISOR_NODES } from './e2e-cluster.ts';

const { cluster, call, kubectl, kernelIn } = useDispatcher();

describe('the dispatcher', () => {
  it('starts a pod in gVisor while nodes are proven', async () => {
    const { code, output, stderr } = await call({ name: 'started' });
    assert.equal(code, 0, stderr);
    assert.equal(output.in_gvisor, true);
    assert.match(String(output.node), /^node-[12]$/);
    assert.match(await kernelIn('started'), /^Linux version 4\.4\.0 /);
    const label = 'jsonpath={.metadata.labels.gvisor-ready\\.dev/dispatch}';
    assert.equal(await kubectl('get', 'pod', 'started', '-n', FREE, '-o', label), 'gvisor');
  });

  // Who may fall back, when, and what is noted then is in `test/dispatcher`; `test/smoke` has a refusal.
  it('falls back with a warning while gVisor fails, if the namespace allows it', async () => {
    await Promise.all(GVISOR_NODES.map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    const { code, output, stderr } = await call({ policy: 'prefer', name: 'fallback' });
    assert.deepEqual([code, output.in_gvisor, output.reason], [0, false, 'GVisorFails'], stderr);
    assert.match(
      stderr,
      /^WARNING dispatcher-free\/fallback runs WITHOUT gVisor: GVisorFails: .*RunscNotFound/m,
    );
    assert.equal(await kernelIn('fallback'), (await readFile('/proc/version', 'utf8')).trim());
  });
});
