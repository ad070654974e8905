import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { pause, waitFor } from '../../../hack/run.ts';
import { type BoundedServerOptions, createBoundedServer } from '../../../lib/kube/bounded-server.ts';

const REQUEST = 'GET /metrics HTTP/1.1\r\nhost: agent\r\n\r\n';

/** Opens connections to a server that allows two per address; `requested` has the URLs of its requests. */
async function serverOf(t: TestContext, changes: Partial<BoundedServerOptions> = {}) {
  const requested: string[] = [];
  const server = createBoundedServer({
    maxConnections: 2,
    respond: ({ url = '' }, response) => {
      requested.push(url);
      response.end('body\n');
    },
    ...changes,
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const open = async (localAddress = '127.0.0.1'): Promise<Socket> => {
    const socket = connect({ port, host: '127.0.0.1', localAddress }).pause();
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  /** Everything that the server sends in response to this. */
  const responseTo = async (request: string, localAddress?: string): Promise<string> => {
    const socket = await open(localAddress);
    socket.write(request);
    return sentTo(socket);
  };
  return { open, responseTo, requested };
}

/** Everything sent on a connection until the server closes it, and the error code of an unclean close. */
async function endOf(socket: Socket): Promise<{ readonly sent: string; readonly code: string | undefined }> {
  let sent = '';
  let code: string | undefined;
  socket.setEncoding('utf8').on('data', (piece) => {
    sent += piece;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    code = error.code;
  });
  await new Promise((resolve) => socket.once('close', resolve).resume());
  return { sent, code };
}

const sentTo = async (socket: Socket) => (await endOf(socket)).sent;

function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

describe('createBoundedServer', () => {
  it('sends one response and closes the connection', async (t) => {
    const { responseTo } = await serverOf(t);
    const sent = await responseTo(REQUEST);
    assert.match(sent, /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n.*\r\n\r\nbody\n$/is);
  });

  it('responds only to the first of a thousand pipelined requests', async (t) => {
    const { responseTo, requested } = await serverOf(t);
    const sent = await responseTo(REQUEST.repeat(1_000));
    assert.equal(sent.split('body\n').length - 1, 1);
    assert.deepEqual(requested, ['/metrics']);
  });

  for (const [what, first, expected] of [
    ['an empty line', '\r\n\r\n', 0],
    ['an unknown expectation', REQUEST.replace('host', 'expect: x\r\nhost'), 1],
    ['an expectation of 100', REQUEST.replace('host', 'expect: 100-continue\r\nhost'), 1],
    ['an upgrade request', REQUEST.replace('host', 'upgrade: h2c\r\nconnection: upgrade\r\nhost'), 1],
    ['a body', 'POST / HTTP/1.1\r\nhost: agent\r\ncontent-length: 10\r\n\r\n', 1],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 0],
    ['a tunnel', 'CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n', 0],
  ] as const)
    it(`responds to no second request after ${what}`, async (t) => {
      const { open, requested } = await serverOf(t, { maxLifetimeMs: 300 });
      const socket = await open();
      socket.setNoDelay(true);
      socket.write(first);
      const sent = sentTo(socket);
      for (let packet = 0; packet < 3; packet++) {
        await pause(0.02);
        socket.write(REQUEST.repeat(100));
      }
      assert.equal((await sent).split(/HTTP\/1\.1 [2-5]/).length - 1 <= 1, true, await sent);
      assert.equal(requested.length, expected);
    });

  it('reads no request while it prepares a response', async (t) => {
    let requested = 0;
    const { open } = await serverOf(t, {
      respond: (_, response) => {
        requested += 1;
        setTimeout(() => response.end('body\n'), 100);
      },
    });
    const socket = await open();
    const sent = sentTo(socket);
    socket.write(REQUEST);
    await waitFor('the first request', 5_000, async () => requested === 1 || undefined, 5);
    socket.write(REQUEST.repeat(10));
    assert.equal((await sent).split('body\n').length - 1, 1);
    assert.equal(requested, 1);
  });

  it('rejects more than 64 headers', async (t) => {
    const { responseTo, requested } = await serverOf(t);
    const withHeaders = (count: number) => {
      const more = Array.from({ length: count - 1 }, (_, nth) => `z${nth}:z\r\n`).join('');
      return `GET / HTTP/1.1\r\nhost: agent\r\n${more}\r\n`;
    };
    assert.match(await responseTo(withHeaders(65)), /^HTTP\/1\.1 431 /);
    assert.deepEqual(requested, []);
    assert.match(await responseTo(withHeaders(64)), /body\n$/);
  });

  it('rejects a head of more than 16 KiB, and bytes that are not HTTP', async (t) => {
    const { responseTo, requested } = await serverOf(t);
    const long = `GET / HTTP/1.1\r\nhost: ${'a'.repeat(100_000)}`;
    assert.match(await responseTo(long), /^HTTP\/1\.1 431 /);
    assert.match(await responseTo('\x16\x03\x01 a client of TLS\r\n\r\n'), /^HTTP\/1\.1 400 /);
    assert.deepEqual(requested, []);
  });

  for (const [what, sent] of [
    ['sends nothing', ''],
    ['sends half a request', REQUEST.slice(0, 10)],
    ['has no response yet', REQUEST],
  ] as const)
    it(`closes a connection that ${what} after its maximum lifetime`, async (t) => {
      const { responseTo } = await serverOf(t, { maxLifetimeMs: 200, respond: () => {} });
      assert.equal(await responseTo(sent), '');
    });

  it('closes a connection that does not read its response', async (t) => {
    const { open } = await serverOf(t, {
      maxLifetimeMs: 200,
      respond: (_, response) => response.end(Buffer.alloc(2 ** 26)),
    });
    const socket = await open();
    socket.write(REQUEST);
    await pause(0.4);
    const sent = await sentTo(socket);
    assert.ok(sent.length < 2 ** 26, String(sent.length));
  });

  it('counts a connection whose response is not read', async (t) => {
    const { open, responseTo } = await serverOf(t);
    for (const socket of [await open(), await open()]) socket.write(REQUEST);
    await pause(0.2); // until the kernel has both
    assert.equal(await responseTo(REQUEST), '');
  });

  for (const [when, after, changes] of [
    ['in time', '', { maxLifetimeMs: 300 }],
    ['when it sends another request', REQUEST, {}],
  ] as const)
    it(`resets a connection that has not read its response ${when}, so the kernel buffers nothing`, async (t) => {
      let requested = 0;
      const respond: BoundedServerOptions['respond'] = (_, response) => {
        requested += 1;
        response.end(Buffer.alloc(2 ** 20)); // fits the send buffer, but not the receive buffer
      };
      const { open } = await serverOf(t, { ...changes, respond });
      const socket = await open();
      socket.write(REQUEST);
      await pause(0.2);
      socket.write(after);
      await pause(0.3);
      assert.equal((await endOf(socket)).code, 'ECONNRESET');
      assert.equal(requested, 1);
    });

  it('frees the slot of a connection that times out while it closes', async (t) => {
    let requested = 0;
    const { responseTo } = await serverOf(t, {
      maxConnections: 1,
      maxLifetimeMs: 50,
      respond: (_, response) => {
        requested += 1;
        busy(100);
        response.end('body\n');
      },
    });
    const another = async () => {
      await responseTo(REQUEST);
      return requested > 1 || undefined;
    };
    await waitFor('a free slot', 10_000, another);
  });

  for (const request of [REQUEST, 'none\r\n\r\n'])
    it(`does not count connections that both sides have closed after ${JSON.stringify(request)}`, async (t) => {
      const { responseTo } = await serverOf(t);
      for (let count = 0; count < 10; count++) assert.match(await responseTo(request), /^HTTP/);
    });

  it('limits the loopback apart from other addresses', async (t) => {
    const { open } = await serverOf(t, { maxConnections: 1, maxLocalConnections: 2 });
    for (const [address, expected] of [
      ['127.0.0.1', 2],
      ['127.0.0.2', 1],
    ] as const) {
      const sockets = [await open(address), await open(address)];
      for (const socket of sockets) socket.write(REQUEST);
      const sent = await Promise.all(sockets.map(sentTo));
      assert.equal(sent.filter((response) => response !== '').length, expected, address);
    }
  });

  it('limits the connections of one address, and accepts another when one has closed', async (t) => {
    const { open, responseTo, requested } = await serverOf(t);
    const [first] = await Promise.all([open(), open()]);
    const begun = performance.now();
    assert.equal(await responseTo(REQUEST), '');
    assert.ok(performance.now() - begun > 500, 'the client could reconnect at once');
    assert.deepEqual(requested, []);
    first?.destroy();
    const responded = async () => (await responseTo(REQUEST)) !== '' || undefined;
    await waitFor('a free slot', 5_000, responded);
  });
});
