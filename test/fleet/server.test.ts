import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Server } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { PAGE_POLICY } from '../../agent/page/policy.ts';
import { createFleetServer, type FleetPages } from '../../fleet/server.ts';
import { waitFor } from '../../hack/run.ts';
import { askFrom, NETWORK } from '../agent/http/ask-from.ts';
import { sampleFleet } from './sample-fleet.ts';

const SHOWN: FleetPages = {
  view: () => sampleFleet(20),
  select: () => new Set(['node-1', 'node-2']),
  metrics: async () => ({ body: 'gvisor_fleet_watches_up 1\n', type: 'text/plain' }),
  live: () => true,
  ready: () => true,
  agentUrl: () => undefined,
};

async function serve(t: TestContext, server: Server): Promise<string> {
  server.listen(0);
  await once(server, 'listening');
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const fleetOf = (t: TestContext, changes: Partial<FleetPages> = {}) =>
  serve(t, createFleetServer({ ...SHOWN, ...changes }));

/** An agent that answers this to every path, with this policy. */
const agentOf = (t: TestContext, body: string, policy: string) =>
  serve(
    t,
    createServer((_, answer) => {
      answer.setHeader('content-security-policy', policy);
      answer.setHeader('content-type', 'text/html');
      answer.setHeader('set-cookie', 'stolen=1');
      answer.end(body);
    }),
  );

describe('the fleet server', () => {
  for (const [path, status, type] of [
    ['/', 200, 'text/html; charset=utf-8'],
    ['/base.css', 200, 'text/css; charset=utf-8'],
    ['/fleet.css', 200, 'text/css; charset=utf-8'],
    ['/fleet.js', 200, 'text/javascript; charset=utf-8'],
    ['/fleet', 200, 'application/json; charset=utf-8'],
    ['/metrics', 200, 'text/plain'],
    ['/livez', 200, 'text/plain; charset=utf-8'],
    ['/readyz', 200, 'text/plain; charset=utf-8'],
    ['/other', 404, 'text/plain; charset=utf-8'],
    ['/nodes/node-1/', 404, 'text/plain; charset=utf-8'],
    ['/nodes/../fleet', 200, 'application/json; charset=utf-8'],
    ['/nodes/node-1/a/b', 404, 'text/plain; charset=utf-8'],
  ] as const)
    it(`answers ${status} to ${path}`, async (t) => {
      const answer = await fetch(`${await fleetOf(t)}${path}`);
      assert.deepEqual([answer.status, answer.headers.get('content-type')], [status, type]);
      assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    });

  for (const from of NETWORK)
    it(`shows the network at ${from} its metrics and its health alone`, async (t) => {
      const { port } = new URL(await fleetOf(t));
      const paths = [
        '/',
        '/base.css',
        '/fleet',
        '/fleet?labels=a',
        '/nodes/node-1/',
        '//fleet',
        '/nodes/../fleet',
      ];
      for (const path of paths) {
        const { status, body } = await askFrom(from, Number(port), path);
        assert.equal(status, 403, path);
        assert.match(body, /port-forward/, path);
        assert.doesNotMatch(body, /node-\d/, path);
      }
      for (const path of ['/metrics', '/livez', '/readyz'])
        assert.equal((await askFrom(from, Number(port), path)).status, 200, path);
    });

  it('takes only GET and HEAD', async (t) => {
    const origin = await fleetOf(t);
    assert.equal((await fetch(`${origin}/fleet`, { method: 'POST' })).status, 405);
    const head = await fetch(`${origin}/fleet`, { method: 'HEAD' });
    assert.deepEqual([head.status, await head.text()], [200, '']);
  });

  it('says when it is neither live nor ready', async (t) => {
    const origin = await fleetOf(t, { live: () => false, ready: () => false });
    for (const path of ['/livez', '/readyz']) assert.equal((await fetch(origin + path)).status, 503);
  });

  it('sends the same fleet once, and only the nodes whose labels match', async (t) => {
    const origin = await fleetOf(t);
    const first = await fetch(`${origin}/fleet`);
    const all = (await first.json()) as { nodes: unknown[] };
    assert.equal(all.nodes.length, 20);
    const tag = first.headers.get('etag') ?? '';
    const again = await fetch(`${origin}/fleet`, { headers: { 'if-none-match': tag } });
    assert.equal(again.status, 304);
    const some = await fetch(`${origin}/fleet?labels=pool%3Dp1`, { headers: { 'if-none-match': tag } });
    assert.deepEqual(
      ((await some.json()) as { nodes: { name: string }[] }).nodes.map(({ name }) => name),
      ['node-1', 'node-2'],
    );
  });

  it('makes a view into data once', async (t) => {
    const view = sampleFleet(20);
    let made = 0;
    const counted = {
      ...view,
      toJSON: () => {
        made += 1;
        return view;
      },
    };
    const origin = await fleetOf(t, { view: () => counted });
    for (const encoding of ['gzip', 'identity', 'gzip']) {
      const answer = await fetch(`${origin}/fleet`, { headers: { 'accept-encoding': encoding } });
      assert.deepEqual(await answer.json(), JSON.parse(JSON.stringify(view)));
    }
    assert.equal(made, 1);
  });

  for (const [path, mostMib] of [
    ['/fleet', 64],
    ['/fleet?labels=pool%3Dp1', 256], // made anew each time, and collected some time
  ] as const)
    it(`holds no ${path} for each of many connections that do not take it`, async (t) => {
      const message = 'x'.repeat(2 ** 22); // more than the kernel takes
      const view = sampleFleet(20);
      const nodes = view.nodes.map((row) => (row.name === 'node-1' ? { ...row, message } : row));
      const wide = { ...view, nodes };
      const origin = await fleetOf(t, { view: () => wide });
      const { port } = new URL(origin);
      await (await fetch(origin + path)).body?.cancel();
      const before = process.memoryUsage().rss;
      for (let count = 0; count < 120; count++) {
        const socket = connect({ port: Number(port), host: '127.0.0.1' }).pause();
        t.after(() => socket.destroy());
        await once(socket, 'connect');
        socket.write(`GET ${path} HTTP/1.1\r\nhost: fleet\r\n\r\n`);
      }
      assert.equal((await fetch(`${origin}/livez`)).status, 200);
      const grown = (process.memoryUsage().rss - before) / 2 ** 20;
      assert.ok(grown < mostMib, `${grown} MiB`);
    });

  it('refuses a selector of thousands of terms, and takes one of thousands of commas for none', async (t) => {
    const origin = await fleetOf(t);
    const long = await fetch(`${origin}/fleet?labels=${'a,'.repeat(7_000)}`);
    assert.deepEqual([long.status, await long.text()], [400, 'a selector has at most 20 terms\n']);
    const empty = await fetch(`${origin}/fleet?labels=${','.repeat(15_000)}`);
    assert.equal(((await empty.json()) as { nodes: unknown[] }).nodes.length, 20);
  });

  it('asks an agent four questions at a time, and refuses more', async (t) => {
    const hold = Promise.withResolvers<void>();
    let asked = 0;
    const agent = await serve(
      t,
      createServer((_, answer) => {
        asked += 1;
        void hold.promise.then(() => answer.end('report'));
      }),
    );
    const origin = await fleetOf(t, { agentUrl: () => agent });
    const codes: number[] = [];
    const answers = Array.from({ length: 10 }, async () => {
      codes.push((await fetch(`${origin}/nodes/node-1/report`)).status);
    });
    await waitFor(
      'four to wait and six to be refused',
      5_000,
      async () => (asked === 4 && codes.length === 6) || undefined,
      10,
    );
    hold.resolve();
    await Promise.all(answers);
    assert.deepEqual(codes, [503, 503, 503, 503, 503, 503, 200, 200, 200, 200]);
    assert.equal((await fetch(`${origin}/nodes/node-1/report`)).status, 200);
  });

  it("shows the page of an agent of its own version under that page's policy", async (t) => {
    const agent = await agentOf(t, '<h1>the agent', PAGE_POLICY);
    const origin = await fleetOf(t, { agentUrl: (node, path) => `${agent}/${node}${path}` });
    const answer = await fetch(`${origin}/nodes/node-1/`);
    assert.equal(await answer.text(), '<h1>the agent');
    assert.equal(answer.headers.get('content-security-policy'), PAGE_POLICY);
    assert.equal(answer.headers.get('set-cookie'), null);
    const moved = await fetch(`${origin}/nodes/node-1`, { redirect: 'manual' });
    assert.deepEqual([moved.status, moved.headers.get('location')], [308, './node-1/']);
  });

  it('lets the page of a strange agent do nothing but show itself', async (t) => {
    const agent = await agentOf(t, '<script>alert(1)</script>', "script-src 'unsafe-inline'");
    const origin = await fleetOf(t, { agentUrl: () => agent });
    const policy = (await fetch(`${origin}/nodes/node-1/`)).headers.get('content-security-policy') ?? '';
    assert.match(policy, /^sandbox; default-src 'none'; /);
    assert.doesNotMatch(policy, /script-src|allow-/);
  });

  it('says so when an agent does not answer, or answers too much', async (t) => {
    const gone = await fleetOf(t, { agentUrl: () => 'http://127.0.0.1:1/' });
    assert.equal((await fetch(`${gone}/nodes/node-1/`)).status, 502);
    const big = await agentOf(t, 'x'.repeat(5 * 2 ** 20), '');
    const flooded = await fleetOf(t, { agentUrl: () => big });
    assert.match(await (await fetch(`${flooded}/nodes/node-1/`)).text(), /answers too much/);
  });
});
