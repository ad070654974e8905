import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Metrics } from '../../agent/http/metrics.ts';
import type { ApiPublisher } from '../../agent/publish/api.ts';
import { openWorkloads } from '../../agent/workloads.ts';
import { nodeScene } from './node-scene.ts';

const UPDATED = /^gvisor_ready_namespaces_last_update_timestamp_seconds (\d+)$/m;

describe('openWorkloads', () => {
  const api = { events: undefined } as ApiPublisher;
  for (const [what, options, seconds] of [
    ['are due from the start', { api }, '0'],
    ['have no series without an API server', {}, undefined],
  ] as const)
    it(`namespaces that require gVisor ${what}`, async (t) => {
      const { node } = await nodeScene(t);
      const metrics = new Metrics('0.1.0', 'runsc');
      openWorkloads(node, [], { metrics, ...options });
      assert.equal(UPDATED.exec((await metrics.text()).body)?.[1], seconds);
    });
});
