import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { type FakeApi, forbidden } from '../fake-api.ts';
import { AGENT_PODS, FLEET_PODS, openFleet } from '../fleet.ts';

const pod = (name: string, owner = 'ReplicaSet') => ({
  metadata: { name, ownerReferences: [{ kind: owner, controller: true }] },
  status: { conditions: [{ type: 'Ready', status: 'True' }] },
});
/** A pod that a kubelet made. */
const FORGED = pod('forged', 'Node');
/** Serves a path of the page in a pod. */
const serve = (api: FakeApi, name: string, body: string) => {
  api.stubs.set(`${AGENT_PODS}/${name}:9478/proxy/livez`, { status: 200, body: 'ok' });
  api.stubs.set(`${AGENT_PODS}/${name}:9478/proxy/fleet?a`, { status: 200, body });
};

/** Runs `page` until a function of its URL ends. */
async function whileOpen(t: TestContext, use: (url: string, api: FakeApi) => Promise<void>) {
  const { api, run } = await openFleet(t);
  serve(api, 'fleet-1', 'the fleet');
  const stop = new AbortController();
  let used: Promise<void> = Promise.resolve();
  const onOutput = (text: string) => {
    const [url = ''] = text.split('#');
    used = use(url, api).finally(() => stop.abort());
  };
  const result = await run('page', { signal: stop.signal, onOutput });
  await used;
  return result;
}

describe('kubectl gvisor-ready page', () => {
  it('shows the page of the controller on this machine alone, until it is interrupted', async (t) => {
    const { code, out, err } = await whileOpen(t, async (url) => {
      const responses = await Promise.all([1, 2].map(() => fetch(`${url}fleet?a`)));
      for (const response of responses)
        assert.deepEqual([response.status, await response.text()], [200, 'the fleet']);
      // A connection that says nothing does not keep the command from ending.
      connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
    });
    assert.match(out, /^http:\/\/127\.0\.0\.1:\d+\/#fake\n$/);
    assert.deepEqual([code, err], [130, 'Interrupted.\n']);
  });

  it('follows the controller to its next pod, and never to one that a kubelet made', async (t) => {
    await whileOpen(t, async (url, api) => {
      serve(api, 'forged', 'a forgery');
      serve(api, 'fleet-2', 'the same fleet');
      api.list(FLEET_PODS, [FORGED, pod('fleet-2')]);
      assert.equal(await (await fetch(`${url}fleet?a`)).text(), 'the same fleet');
      api.list(FLEET_PODS, [FORGED]);
      await assert.rejects(fetch(`${url}fleet?a`), /fetch failed/);
    });
  });

  for (const [what, change, expected] of [
    ['no pod is Ready', (api) => api.list(FLEET_PODS, [FORGED]), /has no Ready pod in gvisor-ready/],
    [
      'port-forwards are forbidden',
      (api) =>
        api.stubs.set(`${AGENT_PODS}/fleet-1/portforward`, forbidden('create', 'pods/portforward', 'x')),
      /The API server refuses GET .*fleet-1\/portforward: 403 pods\/portforward is forbidden/,
    ],
  ] as const satisfies readonly (readonly [string, (api: FakeApi) => void, RegExp])[])
    it(`ends with 2 and the reason where ${what}`, async (t) => {
      const { api, run } = await openFleet(t);
      change(api);
      const { code, out, err } = await run('page');
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, expected);
    });
});
