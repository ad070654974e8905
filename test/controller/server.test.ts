import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Server } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { createFleetServer, type FleetSources } from '../../controller/server.ts';
import { HOSTS, NETWORK, requestFrom } from '../agent/http/request-from.ts';
import { sampleFleet } from '../lib/fleet/sample-fleet.ts';

const SOURCES: FleetSources = {
  view: () => sampleFleet(20),
  metrics: async () => ({ body: 'gvisor_ready_fleet_watches_up 1\n', type: 'text/plain' }),
  live: () => true,
  ready: () => true,
  agentText: () => undefined,
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
    ['/__proto__', 404, 'text/plain; charset=utf-8'],
    ['/fleet', 200, 'application/json; charset=utf-8'],
    ['/metrics', 200, 'text/plain'],
    ['/livez', 200, 'text/plain; charset=utf-8'],
    ['/readyz', 200, 'text/plain; charset=utf-8'],
    ['/other', 404, 'text/plain; charset=utf-8'],
    ['/nodes/node-1/', 404, 'text/html; charset=utf-8'],
    ['/nodes/node-1', 404, 'text/plain; charset=utf-8'],
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

  it('forbids inline code and other origins', async (t) => {
    for (const path of ['/', '/fleet.js', '/nodes/node-1/']) {
      const { headers } = await fetch(`${await fleetOf(t)}${path}`);
      const policy = headers.get('content-security-policy') ?? '';
      assert.ok(policy.startsWith("default-src 'none'; "), path);
      assert.doesNotMatch(policy, /unsafe|\*|https?:/);
      assert.equal(headers.get('referrer-policy'), 'no-referrer');
    }
  });

  /** The page of node-1, whose agent says this. */
  const pageOf = async (t: TestContext, agentText: FleetSources['agentText']) => {
    const response = await fetch(`${await fleetOf(t, { agentText })}/nodes/node-1/`);
    return { status: response.status, page: await response.text() };
  };

  it('shows the text of an agent, with relative links, and loads it again without a script', async (t) => {
    const { status, page } = await pageOf(t, async (node) => `gVisor works here\n${node}, "runsc" & more\n`);
    assert.equal(status, 200);
    assert.ok(page.includes('<pre>gVisor works here\nnode-1, &#34;runsc&#34; &#38; more\n</pre>'), page);
    assert.match(page, /<meta http-equiv="refresh" content="10">\n<title>node-1 · gvisor-ready<\/title>/);
    const links = [...page.matchAll(/(?:href|src)="(?!data:)([^"]*)"/g)].map(([, url]) => url);
    assert.deepEqual(links, ['../../style.css', '../../']);
  });

  it('never turns the text of a compromised agent into markup', async (t) => {
    const evil = `</pre></title><script>pwned = 1</script><img src=x onerror='pwned = 1'><meta http-equiv="refresh">&lt;`;
    const markupOf = async (text: string) => (await pageOf(t, async () => text)).page.match(/<[^>]*>|&\w+;/g);
    assert.deepEqual(await markupOf(evil), await markupOf('well'));
  });

  it('shows no control characters and bidi overrides of a compromised agent', async (t) => {
    const { page } = await pageOf(t, async () => 'a\u001b[31m\u0000\u009b\rb\u202ec\u2066\ud800\n\td');
    const shown = 'a\ufffd[31m\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffd\n\td';
    assert.ok(page.includes(`<pre>${shown}</pre>`), JSON.stringify(page));
  });

  const SILENT: readonly (readonly [string, FleetSources['agentText'], status: number, text: string])[] = [
    ['before the first evaluation', async () => undefined, 503, 'The first evaluation of its agent has not'],
    [
      'of a silent agent',
      () => Promise.reject(new Error('<ECONNREFUSED>')),
      502,
      'answer: &#60;ECONNREFUSED',
    ],
    ['of a node without an agent', () => undefined, 404, 'No agent with an address is known'],
  ];
  for (const [what, agentText, expected, text] of SILENT)
    it(`has a page that loads itself again ${what}`, async (t) => {
      const { status, page } = await pageOf(t, agentText);
      assert.equal(status, expected);
      assert.ok(page.includes(text), page);
      assert.match(page, /http-equiv="refresh"/);
    });
});
