import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { createAgentServer, type ServerSources } from '../../../agent/http/server.ts';
import { reportOf } from '../reports.ts';
import { HOSTS, NETWORK, PORT_FORWARD, requestFrom } from './request-from.ts';

const REPORT = reportOf();
const SOURCES: ServerSources = {
  metrics: () => Promise.resolve({ body: 'gvisor_ready_node_status 1\n', type: 'text/plain; version=0.0.4' }),
  report: () => REPORT,
  live: () => true,
  unready: () => undefined,
};

async function portOf(t: TestContext, changes: Partial<ServerSources> = {}): Promise<number> {
  const server = createAgentServer({ ...SOURCES, ...changes });
  server.listen(0);
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Requests a raw path, which no client normalizes, from a running server. */
async function serverOf(t: TestContext, changes: Partial<ServerSources> = {}) {
  const port = await portOf(t, changes);
  return async (path: string, method = 'GET') => {
    const outgoing = request({ host: '127.0.0.1', port, path, method });
    outgoing.end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    return { status: response.statusCode, body: await text(response), headers: response.headers };
  };
}

describe('createAgentServer', () => {
  for (const [path, body] of [
    ['/metrics', 'gvisor_ready_node_status 1\n'],
    ['/livez', 'ok\n'],
    ['/readyz', 'ok\n'],
    ['/readyz?verbose', 'ok\n'],
    ['/report', `${JSON.stringify(REPORT, null, 2)}\n`],
  ] as const) {
    it(`serves ${path}, and HEAD without a body`, async (t) => {
      const request = await serverOf(t);
      const response = await request(path);
      assert.deepEqual([response.status, response.body], [200, body]);
      assert.equal(response.headers['cache-control'], 'no-store');
      assert.equal(response.headers['x-content-type-options'], 'nosniff');
      const head = await request(path, 'HEAD');
      assert.deepEqual([head.status, head.body], [200, '']);
    });
  }

  const evidence = 'process 4321 is "/tenant/argv"';
  const ids = { namespace: 'tenant-a', name: 'a-job', uid: '5f0e7a' };
  const tenant = { ...ids, handler: '', sandboxed: false, evidence };
  const none = { unknown: [], permitted: [], weakened: [] };
  const counts = { at: '', stale: false, running: 2, requirementsKnown: true };
  const pods = { ...counts, ...none, violating: [tenant], sandboxedUids: ['77aa0c'], unknownRequired: 0 };
  const lasting = { since: '', ageSeconds: 1 };
  const hung = { reason: 'ShimLingers', message: '', sandbox: 'ab', pids: [7], ...lasting } as const;
  const problems = [{ ...hung, namespace: 'tenant-b', name: 'b-job', uid: '8bb1d' }];
  const restart = { state: 'safe', because: [] } as const;
  const sandboxes = { at: '', stale: false, total: 1, restart, problems };
  const status = { ...REPORT, pods, sandboxes };
  const names = ['tenant-a', 'a-job', evidence];
  const all = [...names, '5f0e7a', '77aa0c', 'tenant-b', 'b-job', '8bb1d'];
  const unescaped = (text: string) => text.replaceAll('\\"', '"').replace(/\s+/g, ' ');
  for (const from of PORT_FORWARD)
    it(`names pods to a port-forward from ${from}`, async (t) => {
      const port = await portOf(t, { report: () => status });
      for (const path of ['/', '/report']) {
        const body = unescaped((await requestFrom(from, port, path)).body);
        for (const name of path === '/' ? names : all) assert.ok(body.includes(name), name);
      }
    });
  for (const from of NETWORK)
    it(`hides pod names from the network at ${from}, with a hint`, async (t) => {
      const port = await portOf(t, { report: () => status });
      const [page, report, ...others] = await Promise.all(
        ['/', '/report', '/metrics', '/livez', '/readyz', '/other'].map(async (path) =>
          unescaped((await requestFrom(from, port, path)).body),
        ),
      );
      for (const body of [page ?? '', report ?? '', ...others])
        for (const name of all) assert.ok(!body.includes(name), name);
      assert.match(page ?? '', /port-forward to the agent's pod, port 9477/);
      const podCounts = { violating: 1, weakened: 0, open: 0, unknown: 0 };
      const shown = { ...REPORT, podCounts, sandboxes: { ...sandboxes, problems: [hung] } };
      assert.deepEqual(JSON.parse(report ?? ''), JSON.parse(JSON.stringify(shown)));
    });

  for (const [host, own] of Object.entries(HOSTS))
    it(`${own ? 'answers' : 'refuses'} a port-forward with the Host "${host}", and answers the network`, async (t) => {
      const port = await portOf(t);
      for (const path of ['/report', '/metrics']) {
        const { status } = await requestFrom('127.0.0.1', port, path, { host });
        assert.equal(status, own ? 200 : 421, path);
        assert.equal((await requestFrom('127.0.0.6', port, path, { host })).status, 200);
      }
    });

  it('caches rendered responses', async (t) => {
    let reads = 0;
    const report = () => {
      reads += 1;
      return REPORT;
    };
    const request = await serverOf(t, { report });
    const responses = await Promise.all(Array.from({ length: 10 }, () => request('/report')));
    assert.ok(responses.every(({ status }) => status === 200));
    assert.ok(reads < 10, String(reads));
  });

  it('accepts sixteen connections from one address', async (t) => {
    const port = await portOf(t);
    const open = async () => {
      const socket = connect(port, '127.0.0.1');
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      return socket;
    };
    const responds = async (socket: Socket) => {
      socket.write('GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n');
      return (await text(socket)).startsWith('HTTP/1.1 200 ');
    };
    const sockets: Socket[] = [];
    while (sockets.length < 17) sockets.push(await open());
    const tooMany = sockets.pop();
    assert.ok(tooMany !== undefined);
    assert.equal(await responds(tooMany).catch(() => false), false);
    assert.deepEqual(await Promise.all(sockets.map(responds)), Array(16).fill(true));
  });

  it('sends content types', async (t) => {
    const request = await serverOf(t);
    assert.equal((await request('/metrics')).headers['content-type'], 'text/plain; version=0.0.4');
    assert.match(String((await request('/report')).headers['content-type']), /^application\/json/);
    const page = await request('/');
    assert.equal(page.headers['content-type'], 'text/plain; charset=utf-8');
    assert.match(page.body, /^gVisor works here\nnode-1, handler "runsc"[\s\S]*✓ passed: kernel/);
  });

  for (const path of ['/nothing', '//', '///', '//metrics', '/..', '/%', '/metrics/', '/livez%00']) {
    it(`responds 404 to ${path} and keeps running`, async (t) => {
      const request = await serverOf(t);
      const { status } = await request(path);
      assert.ok(status === 404 || (path === '/..' && status === 200), String(status));
      assert.equal((await request('/livez')).status, 200);
    });
  }

  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
    it(`rejects ${method}`, async (t) => {
      const response = await (await serverOf(t))('/report', method);
      assert.deepEqual([response.status, response.headers.allow], [405, 'GET, HEAD']);
    });
  }

  const broken = () => Promise.reject(new Error('broken'));
  const notYet = 'the first evaluation has not ended yet\n';
  // biome-ignore format: one row a line
  for (const [what, sources, expected] of [
    ['has no report, but is live, before the first evaluation has ended', { report: () => undefined }, { '/': [503, notYet], '/report': [503, notYet], '/livez': [200, 'ok\n'] }],
    ['is live but not ready, with the reason, while a rollout must wait', { unready: () => 'why' }, { '/readyz': [503, 'why\n'], '/livez': [200, 'ok\n'] }],
    ['is not live once the loop has stalled', { live: () => false }, { '/livez': [503, 'the loop has stalled\n'] }],
    ['responds 500 when the metrics fail, and keeps running', { metrics: broken }, { '/metrics': [500], '/livez': [200, 'ok\n'] }],
  ] as const)
    it(what, async (t) => {
      const request = await serverOf(t, sources);
      for (const [path, [status, text]] of Object.entries(expected)) {
        const response = await request(path);
        assert.deepEqual([response.status, response.body], [status, text ?? response.body], path);
      }
    });
});
