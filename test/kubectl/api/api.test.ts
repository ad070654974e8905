import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sanitizeValues } from '../../../kubectl/api/api.ts';
import { forbidden, refusal, type Stub } from '../fake-api.ts';
import { openFleet } from '../fleet.ts';
import { nodeObject } from '../fleet-objects.ts';

const RESPONSES: readonly (readonly [what: string, stub: Stub, error: RegExp])[] = [
  [
    'a missing permission',
    forbidden('list', 'nodes'),
    /User "u" cannot list resource "nodes" in API group "" at the cluster scope$/m,
  ],
  ['a rejected credential', refusal(401, 'Unauthorized'), /^The API server does not accept your credential/],
  [
    'a page instead of JSON',
    { status: 200, body: '<html>', type: 'text/html' },
    /with no JSON: is it an API server\?/,
  ],
  [
    'the error of a proxy, sanitized',
    { status: 502, body: '<html>\u001b[31mBad gateway', type: 'text/html' },
    /502 <html>\ufffd\[31mBad gateway$/m,
  ],
];

describe('Api', () => {
  for (const [what, stub, error] of RESPONSES)
    it(`reports ${what}`, async (t) => {
      const { api, run } = await openFleet(t);
      api.stubs.set('/api/v1/nodes', stub);
      const { code, out, err } = await run('nodes');
      assert.match(err, error);
      assert.deepEqual([code, out, err.trim().split('\n').length], [2, '', 1]);
    });

  it('ends a request after --request-timeout, or when it is interrupted', async (t) => {
    const { api, run } = await openFleet(t);
    api.stubs.set('/api/v1/nodes', null);
    assert.match(
      (await run('nodes --request-timeout 300ms')).err,
      /^Cannot reach the API server .*: no response within 0\.3 s \(--request-timeout\)$/m,
    );
    const { code, err } = await run('nodes', { signal: AbortSignal.timeout(200) });
    assert.deepEqual([code, err], [130, 'Interrupted.\n']);
  });

  it('follows the pages of a list', async (t) => {
    const { api, run } = await openFleet(t);
    api.stubs.set('/api/v1/nodes', ({ searchParams }: URL) =>
      searchParams.get('continue') === 'a/b'
        ? { items: [nodeObject('last')] }
        : { items: [nodeObject('first')], metadata: { continue: 'a/b' } },
    );
    assert.match((await run('nodes --no-headers')).out, /^first .*\nlast .*\n$/);
  });

  it('sanitizes every string of a response', () => {
    const value = { a: ['x\u001b[2J', { b: 'y\u202e\nz' }], c: 1, d: null, e: true };
    assert.deepEqual(sanitizeValues(value), {
      a: ['x\ufffd[2J', { b: 'y\ufffd z' }],
      c: 1,
      d: null,
      e: true,
    });
  });
});
