import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers from 'node:timers/promises';
import { KubeError } from '../../../lib/kube/error.ts';
import { pagesOf } from '../../../lib/kube/pages.ts';

const TIMEOUT = new DOMException('the operation timed out', 'TimeoutError');
const refusal = (status: number, retryAfterMs?: number) => new KubeError(`${status}`, status, retryAfterMs);

/** The items of a list of three pages, whose second answers with these errors first, and the pauses before each try. */
async function listOf(t: TestContext, errors: readonly Error[]) {
  const pauses: number[] = [];
  t.mock.method(timers, 'setTimeout', async (ms: number) => void pauses.push(ms));
  const left = [...errors];
  const asked: string[] = [];
  const get = async (path: string) => {
    const token = new URLSearchParams(path.split('?')[1]).get('continue') ?? '1';
    asked.push(token);
    const error = token === '2' ? left.shift() : undefined;
    if (error !== undefined) throw error;
    return { items: [token], metadata: token === '3' ? {} : { continue: `${Number(token) + 1}` } };
  };
  const items: string[] = [];
  for await (const page of pagesOf<string>(get, '/api/v1/nodes', { limit: '1' }))
    items.push(...(page.items ?? []));
  return { items, asked, pauses };
}

describe('pagesOf', () => {
  it('asks for a page that fails again, and begins no list anew', async (t) => {
    for (const [errors, pauses] of [
      [[TIMEOUT], [1_000]],
      [
        [refusal(503), TIMEOUT],
        [1_000, 5_000],
      ],
      [[refusal(429, 3_000)], [3_000]],
    ] as const) {
      const list = await listOf(t, errors);
      assert.deepEqual(list.items, ['1', '2', '3']);
      assert.deepEqual(list.asked, ['1', ...Array(errors.length + 1).fill('2'), '3']);
      assert.deepEqual(list.pauses, pauses);
    }
  });

  it('rejects with an expired token, what is not allowed, an abort, and the third failure', async (t) => {
    const ABORTED = new DOMException('aborted', 'AbortError');
    for (const errors of [[refusal(410)], [refusal(403)], [ABORTED], [TIMEOUT, TIMEOUT, refusal(500)]])
      await assert.rejects(listOf(t, errors), errors.at(-1));
  });
});
