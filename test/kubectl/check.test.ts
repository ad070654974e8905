import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CASES } from './check-cases.ts';
import { faults, sound } from './check-faults.ts';
import { openFleet } from './open-fleet.ts';

describe('check', () => {
  for (const [what, change, expected, ...patterns] of CASES)
    it(`finds ${what}`, async (t) => {
      const fleet = await sound(t);
      change(fleet);
      const { code, lines } = await faults(fleet);
      assert.equal(code, expected, lines.join('\n'));
      assert.equal(lines.length, patterns.length, lines.join('\n'));
      for (const [at, pattern] of patterns.entries()) assert.match(lines[at] ?? '', pattern);
    });

  it('shows each line with its page, under the name of its section', async (t) => {
    const { run } = await sound(t);
    const { out } = await run('check');
    assert.match(
      out,
      /^Kubernetes\n✓ The API server is v1\.36\.3; 1\.30 or newer is needed\n {2}docs\/admission\.md\n\nRuntimeClass\n✓ /,
    );
    assert.match(out, /\n\n12 in order\.\n$/);
  });

  it('is one line when the API server is away', async (t) => {
    const { run, api } = await openFleet(t);
    api.close();
    const { code, out, err } = await run('check');
    assert.deepEqual([code, out, err.trim().split('\n').length], [2, '', 1]);
  });
});
