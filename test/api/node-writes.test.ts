import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeGroups } from './admission-case.ts';
import { fieldNow, forgeries } from './forged-fields.ts';
import { NODE_GROUPS } from './node-write-cases.ts';
import { useWriters } from './node-writers.ts';

const writers = useWriters([]);

describeGroups(writers, NODE_GROUPS);

describe("an agent's token", () => {
  it('cannot write any other field of its Node in the schema of the API server', async () => {
    const { cluster, as } = writers();
    const tried = await forgeries(cluster);
    assert.ok(tried.length > 30, `only ${tried.length} fields`);
    let refused = 0;
    for (const forgery of tried) {
      const was = await fieldNow(cluster, forgery);
      const { code, message } = await as('agent', forgery.call);
      // The API server ignores some fields, such as the generation: it accepts the patch and changes nothing.
      if (code < 300) assert.deepEqual(await fieldNow(cluster, forgery), was, JSON.stringify(forgery));
      else if (/ValidatingAdmissionPolicy/.test(message)) refused++;
      else assert.match(`${code}`, /^4(00|22)$/, 'neither by the policy nor for its form');
    }
    assert.ok(refused > 20, `the policy refused only ${refused} fields`);
  });
});
