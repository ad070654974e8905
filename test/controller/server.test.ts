import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Server } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { PAGE_POLICY } from '../../controller/page/page.ts';
import { createFleetServer, type FleetSources } from '../../controller/server.ts';
import { HOSTS, NETWORK, requestFrom } from '../agent/http/request-from.ts';
import { HEALTHY } from '../agent/text/sample-reports.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';

const SOURCES: FleetSources = {
  view: () => sampleFleet(20),
  metrics: async () => ({ body: 'gvisor_ready_fleet_watches_up 1\n', type: 'text/plain' }),
  live: () => true,
  ready: () => true,
  report: () => undefined,
};

async function serve(t: TestContext, server: Server): Promise<string> {
  server.listen(0);
  await once(server, 'listening');
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const fleetOf = (t: TestContext, changes: Partial<FleetSources> = {}) =>
  serve(t, createFleetServer({ ...SOURCES, ...changes }));

describe('the fleet server', () => {
  for (const [path, status, type] of [
    ['/', 200, 'text/html; charset=utf-8'],
    ['/style.css', 200, 'text/css; charset=utf-8'],
    ['/fleet.js', 200, 'text/javascript; charset=utf-8'],
    ['/node.js', 200, 'text/javascript; charset=utf-8'],
    ['/reload.js', 200, 'text/javascript; charset=utf-8'],
    ['/__proto__', 404, 'text/plain; charset=utf-8'],
    ['/fleet', 200, 'application/json; charset=utf-8'],
    ['/metrics', 200, 'text/plain'],
    ['/livez', 200, 'text/plain; charset=utf-8'],
    ['/readyz', 200, 'text/plain; charset=utf-8'],
    ['/other', 404, 'text/plain; charset=utf-8'],
    ['/nodes/node-1/', 404, 'text/plain; charset=utf-8'],
    ['/nodes/../fleet', 200, 'application/json; charset=utf-8'],
    ['/nodes/node-1/a/b', 404, 'text/plain; charset=utf-8'],
  ] as const)
    it(`responds ${status} to ${path}`, async (t) => {
      const response = await fetch(`${await fleetOf(t)}${path}`);
      assert.deepEqual([response.status, response.headers.get('content-type')], [status, type]);
      assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    });

  for (const from of NETWORK)
    it(`serves only metrics and probes to the network at ${from}`, async (t) => {
      const { port } = new URL(await fleetOf(t));
      const pages = ['/', '/style.css', '/fleet', '/fleet?a=b', '/nodes/node-1/'];
      for (const path of [...pages, '//fleet', '/nodes/../fleet']) {
        const { status, body } = await requestFrom(from, Number(port), path);
        assert.equal(status, 403, path);
        assert.match(body, /port-forward/, path);
        assert.doesNotMatch(body, /node-\d/, path);
      }
      for (const path of ['/metrics', '/livez', '/readyz'])
        assert.equal((await requestFrom(from, Number(port), path)).status, 200, path);
    });

  it('answers a port-forward only under an address or localhost, so that no web page reads it', async (t) => {
    const { port } = new URL(await fleetOf(t));
    for (const [host, own] of Object.entries(HOSTS)) {
      const { status, body } = await requestFrom('127.0.0.1', Number(port), '/fleet', { host });
      assert.deepEqual([status, body.includes('node-1')], own ? [200, true] : [421, false], host);
    }
  });

  it('accepts only GET and HEAD', async (t) => {
    const origin = await fleetOf(t);
    assert.equal((await fetch(`${origin}/fleet`, { method: 'POST' })).status, 405);
    const head = await fetch(`${origin}/fleet`, { method: 'HEAD' });
    assert.deepEqual([head.status, await head.text()], [200, '']);
  });

  it('fails its probes when it is neither live nor ready', async (t) => {
    const origin = await fleetOf(t, { live: () => false, ready: () => false });
    for (const path of ['/livez', '/readyz']) assert.equal((await fetch(origin + path)).status, 503);
  });

  it('sends an unchanged fleet once', async (t) => {
    const origin = await fleetOf(t);
    const first = await fetch(`${origin}/fleet`);
    const all = (await first.json()) as { nodes: unknown[] };
    assert.equal(all.nodes.length, 20);
    const tag = first.headers.get('etag') ?? '';
    const again = await fetch(`${origin}/fleet`, { headers: { 'if-none-match': tag } });
    assert.equal(again.status, 304);
  });

  it('serializes each view once', async (t) => {
    const view = sampleFleet(20);
    let serialized = 0;
    const counted = {
      ...view,
      toJSON: () => {
        serialized += 1;
        return view;
      },
    };
    const origin = await fleetOf(t, { view: () => counted });
    for (const encoding of ['gzip', 'identity', 'gzip']) {
      const response = await fetch(`${origin}/fleet`, { headers: { 'accept-encoding': encoding } });
      assert.deepEqual(await response.json(), JSON.parse(JSON.stringify(view)));
    }
    assert.equal(serialized, 1);
  });

  it('shares one copy of the fleet among clients that do not read it', async (t) => {
    const message = 'x'.repeat(2 ** 22); // exceeds the socket buffers
    const view = sampleFleet(20);
    const nodes = view.nodes.map((row) => (row.name === 'node-1' ? { ...row, message } : row));
    const wide = { ...view, nodes };
    const origin = await fleetOf(t, { view: () => wide });
    const { port } = new URL(origin);
    await (await fetch(`${origin}/fleet`)).body?.cancel();
    const before = process.memoryUsage().rss;
    for (let count = 0; count < 120; count++) {
      const socket = connect({ port: Number(port), host: '127.0.0.1' }).pause();
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      socket.write('GET /fleet HTTP/1.1\r\nhost: localhost\r\n\r\n');
    }
    assert.equal((await fetch(`${origin}/livez`)).status, 200);
    const grown = (process.memoryUsage().rss - before) / 2 ** 20;
    assert.ok(grown < 64, `${grown} MiB`);
  });

  it('renders the page of a node from the report of its agent', async (t) => {
    const origin = await fleetOf(t, { report: async (node) => ({ ...HEALTHY, node }) });
    const response = await fetch(`${origin}/nodes/node-7/`);
    assert.match(await response.text(), /<title>✓ node-7: gVisor works here<\/title>/);
    assert.deepEqual(
      ['content-type', 'content-security-policy', 'referrer-policy'].map((name) =>
        response.headers.get(name),
      ),
      ['text/html; charset=utf-8', PAGE_POLICY, 'no-referrer'],
    );
    const moved = await fetch(`${origin}/nodes/node-7`, { redirect: 'manual' });
    assert.deepEqual([moved.status, moved.headers.get('location')], [308, './node-7/']);
  });

  it('requests the report of a node once for concurrent clients', async (t) => {
    let requested = 0;
    const reported = Promise.withResolvers<unknown>();
    const report = () => {
      if (++requested === 1) setTimeout(() => reported.resolve(HEALTHY), 200);
      return reported.promise;
    };
    const origin = await fleetOf(t, { report });
    const statuses = Array.from({ length: 10 }, async () => (await fetch(`${origin}/nodes/node-1/`)).status);
    assert.deepEqual(new Set(await Promise.all(statuses)), new Set([200]));
    assert.ok(requested < 10, String(requested));
  });

  const NO_REPORT = /sent no report that this version can show\n$/;
  const REPORTS: readonly (readonly [string, FleetSources['report'], status: number, text: RegExp])[] = [
    ['before the first evaluation', async () => undefined, 200, /its first evaluation has not ended yet/],
    ['of a silent agent', () => Promise.reject(new Error('ECONNREFUSED')), 502, /not answer: ECONNREFUSED/],
    ['of a node without an agent', () => undefined, 404, /no agent with an address is known on .* node-1/],
    ['of an agent of another node', async () => ({ ...HEALTHY, node: 'node-2' }), 502, NO_REPORT],
    ['of another shape', async () => ({ node: {}, verdict: '<script>' }), 502, NO_REPORT],
  ];
  for (const [what, report, status, text] of REPORTS)
    it(`has a page, or a plain error, ${what}`, async (t) => {
      const response = await fetch(`${await fleetOf(t, { report })}/nodes/node-1/`);
      const body = await response.text();
      assert.equal(response.status, status);
      assert.match(body, text);
      if (status !== 200) assert.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8');
    });
});
