import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { describe, it, type TestContext } from 'node:test';
import { pino } from 'pino';
import { Informer } from '../../controller/informers.ts';
import { waitFor } from '../../hack/run.ts';
import { agentPodOf } from '../../lib/fleet/objects.ts';
import { openApi } from '../lib/fleet/open-api.ts';

const BOOKMARK = `${JSON.stringify({
  type: 'BOOKMARK',
  object: { metadata: { resourceVersion: '9' }, spec: { containers: null }, status: {} },
})}\n`;

const podOf = (name: string, kind: string) => ({
  metadata: { name, namespace: 'a', resourceVersion: '3', ownerReferences: [{ kind, controller: true }] },
  spec: { containers: [] },
});
const LIST = {
  metadata: { resourceVersion: '5' },
  items: [podOf('agent-1', 'DaemonSet'), podOf('mirror-1', 'Node')],
};

/** Called for each watch, numbered from 1, after its first bytes were sent. */
type OnWatch = (watch: number, response: ServerResponse) => void;

/** Runs an informer of pods; `watched` has the resourceVersion of each watch, which begins with `firstBytes`. */
async function follow(t: TestContext, onWatch: OnWatch, renewalMs?: number, firstBytes = BOOKMARK) {
  const { api, config, kube } = await openApi(t);
  api.stubs.set('/api/v1/namespaces/a/pods', LIST);
  const watched: (string | null)[] = [];
  api.onWatch = ({ searchParams }, response) => {
    watched.push(searchParams.get('resourceVersion'));
    response.write(firstBytes, () => onWatch(watched.length, response));
  };
  const reach = { kube, namespace: 'a', log: pino({ level: 'silent' }) };
  const relists: number[] = [];
  const onRelist = () => void relists.push(watched.length);
  const options = { path: '/api/v1/namespaces/a/pods', pick: agentPodOf, onRelist };
  const informer = new Informer(options, reach, renewalMs);
  const stop = new AbortController();
  const running = informer.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  return { informer, config, watched, relists };
}

/** Waits until a value holds. */
const until = (what: string, holds: () => boolean, timeoutMs = 20_000) =>
  waitFor(what, timeoutMs, async () => holds() || undefined, 20);

describe('Informer', () => {
  it('continues from the last bookmark, whose containers are null', async (t) => {
    // The first ends normally, as the API server does now and then.
    const { informer, watched } = await follow(t, (watch, response) => {
      if (watch === 1) response.end();
    });
    await until('a second watch', () => watched.length === 2);
    assert.deepEqual(watched, ['5', '9']);
    const names = informer.list().map(({ name }) => name);
    assert.deepEqual(names, ['agent-1']);
  });

  it('counts as up while a broken watch is renewed soon', async (t) => {
    const since: (number | undefined)[] = [];
    const { informer, watched } = await follow(t, (_, response) => {
      setTimeout(() => {
        since.push(informer.sinceMs);
        response.destroy();
      }, 100);
    });
    await until('a third watch', () => watched.length === 3);
    assert.deepEqual(watched, ['5', '9', '9']);
    assert.ok(since[0] !== undefined);
    assert.deepEqual(since, [since[0], since[0]]);
  });

  it('counts as up while watches without events end normally', async (t) => {
    t.mock.method(Math, 'random', () => 0); // the shortest pauses
    const since: (number | undefined)[] = [];
    const end = (response: ServerResponse) => {
      since.push(informer.sinceMs);
      response.end();
    };
    const onWatch: OnWatch = (_, response) => setTimeout(end, 2_500, response);
    const { informer } = await follow(t, onWatch, 2_000, '');
    await until('the end of a fifth watch', () => since.length === 5, 40_000);
    assert.ok(since[0] !== undefined);
    assert.deepEqual(since, Array(5).fill(since[0]));
  });

  it('counts as down where each watch breaks at once', async (t) => {
    const { informer, watched } = await follow(t, (_, response) => response.destroy(), 1_500);
    await until('an outdated cache', () => watched.length > 1 && informer.sinceMs === undefined);
  });

  for (const [what, object] of [
    ['410 Gone', { code: 410, message: 'too old resource version' }],
    ['a version of the future', { code: 504, message: 'Too large resource version: 5, current: 3' }],
  ] as const)
    it(`lists again, tells so, and counts from then, after ${what}`, async (t) => {
      const since: (number | undefined)[] = [];
      const { informer, watched, relists } = await follow(t, (watch, response) => {
        setTimeout(() => {
          since.push(informer.sinceMs);
          if (watch === 1) response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
        }, 100);
      });
      await until('a second watch', () => since.length === 2);
      assert.deepEqual(watched, ['5', '5'], 'the version of the list, not of the last bookmark');
      assert.deepEqual(relists, [1]);
      assert.ok((since[1] ?? 0) > (since[0] ?? Number.POSITIVE_INFINITY));
    });

  it('survives an unreadable credential during a renewal', async (t) => {
    const { informer, config, watched } = await follow(t, (watch, response) => {
      const read = config.applyToHTTPSOptions;
      config.applyToHTTPSOptions = async () => {
        config.applyToHTTPSOptions = read;
        throw new Error('the network is down');
      };
      if (watch === 1) response.end();
    });
    await until('a second watch', () => watched.length === 2 && informer.sinceMs !== undefined);
  });
});
