import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { CONNECTION_BYTES, createLimitedServer, type Limited } from '../../../agent/http/bounded-server.ts';
import { pause, waitFor } from '../../../hack/run.ts';

const QUESTION = 'GET /metrics HTTP/1.1\r\nhost: agent\r\n\r\n';

/** A function that opens a connection to a server of two an address, and the URLs that were answered. */
async function serverOf(t: TestContext, changes: Partial<Limited> = {}) {
  const asked: string[] = [];
  const server = createLimitedServer({
    mostConnections: 2,
    answer: ({ url = '' }, response) => {
      asked.push(url);
      response.end('answer\n');
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
  return { open, asked };
}

/** All that a connection is sent until its other side ends it, and the code of the error if that was no clean end. */
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

/** Holds up the loop. */
function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

describe('createLimitedServer', () => {
  it('answers a question, and ends the connection', async (t) => {
    const { open } = await serverOf(t);
    const socket = await open();
    socket.write(QUESTION);
    const sent = await text(socket);
    assert.match(sent, /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n.*\r\n\r\nanswer\n$/is);
  });

  it('answers a question that comes in pieces', async (t) => {
    const { open, asked } = await serverOf(t);
    const socket = await open();
    socket.setNoDelay(true);
    for (const piece of [QUESTION.slice(0, 10), QUESTION.slice(10, -1), QUESTION.slice(-1)]) {
      socket.write(piece);
      await pause(0.02);
    }
    assert.match(await text(socket), /answer\n$/);
    assert.deepEqual(asked, ['/metrics']);
  });

  it('answers one question of a thousand in a packet, and reads no other', async (t) => {
    const { open, asked } = await serverOf(t);
    const socket = await open();
    socket.write(QUESTION.repeat(1_000));
    const sent = await sentTo(socket);
    assert.equal(sent.split('answer\n').length - 1, 1);
    assert.deepEqual(asked, ['/metrics']);
  });

  for (const [what, first, answered] of [
    ['an empty line', '\r\n\r\n', 0],
    ['an expectation that nobody knows', QUESTION.replace('host', 'expect: x\r\nhost'), 1],
    ['an expectation of 100', QUESTION.replace('host', 'expect: 100-continue\r\nhost'), 1],
    ['a wish to upgrade', QUESTION.replace('host', 'upgrade: h2c\r\nconnection: upgrade\r\nhost'), 1],
    ['a body', 'POST / HTTP/1.1\r\nhost: agent\r\ncontent-length: 10\r\n\r\n', 1],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 0],
    ['a tunnel', 'CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n', 0],
  ] as const)
    it(`reads no other question after ${what}`, async (t) => {
      const { open, asked } = await serverOf(t, { mostMs: 300 });
      const socket = await open();
      socket.setNoDelay(true);
      socket.write(first);
      const sent = sentTo(socket);
      for (let packet = 0; packet < 3; packet++) {
        await pause(0.02);
        socket.write(QUESTION.repeat(100));
      }
      assert.equal((await sent).split(/HTTP\/1\.1 [2-5]/).length - 1 <= 1, true, await sent);
      assert.equal(asked.length, answered);
    });

  it('makes one answer in a turn of the loop, for one address after the other', async (t) => {
    let turn = 0;
    let counting: NodeJS.Immediate | undefined;
    const count = () => {
      turn += 1;
      counting = setImmediate(count);
    };
    const answers: { readonly turn: number; readonly address: string | undefined }[] = [];
    const { open } = await serverOf(t, {
      mostConnections: 8,
      answer: ({ socket }, response) => {
        // All others come meanwhile.
        if (answers.length === 0) busy(100);
        answers.push({ turn, address: socket.remoteAddress });
        response.end('answer\n');
      },
    });
    const many = await Promise.all(Array.from({ length: 8 }, () => open()));
    const other = await open('127.0.0.2');
    await pause(0.05); // until the server has them all
    count();
    for (const socket of [...many, other]) socket.write(QUESTION);
    await Promise.all([...many, other].map(sentTo));
    clearImmediate(counting);
    assert.equal(new Set(answers.map((each) => each.turn)).size, 9);
    assert.equal(answers[1]?.address, '127.0.0.2');
  });

  it('takes on a connection within a few answers, though many wait before it', async (t) => {
    const answered: (string | undefined)[] = [];
    const { open } = await serverOf(t, {
      mostConnections: 200,
      answer: ({ socket }, response) => {
        answered.push(socket.remoteAddress);
        busy(20);
        response.end();
      },
    });
    const many = await Promise.all(Array.from({ length: 200 }, () => open()));
    for (const socket of many) socket.write(QUESTION);
    const other = await open('127.0.0.2');
    other.write(QUESTION);
    await sentTo(other);
    assert.ok(answered.length < 20, String(answered.length));
  });

  it('makes no answer for who has gone meanwhile', async (t) => {
    let answered = 0;
    const { open } = await serverOf(t, {
      mostConnections: 100,
      mostMs: 1,
      answer: (_, response) => {
        answered += 1;
        busy(20);
        response.end();
      },
    });
    const many = await Promise.all(Array.from({ length: 50 }, () => open()));
    for (const socket of many) socket.write(QUESTION);
    await Promise.all(many.map(sentTo));
    assert.ok(answered < 25, String(answered));
  });

  it('reads no question while it makes an answer', async (t) => {
    let asked = 0;
    const { open } = await serverOf(t, {
      answer: (_, response) => {
        asked += 1;
        setTimeout(() => response.end('answer\n'), 100);
      },
    });
    const socket = await open();
    const sent = sentTo(socket);
    socket.write(QUESTION);
    await waitFor('the first question', 5_000, async () => asked === 1 || undefined, 5);
    socket.write(QUESTION.repeat(10));
    assert.equal((await sent).split('answer\n').length - 1, 1);
    assert.equal(asked, 1);
  });

  it('refuses a question of more than 64 headers, which would take much more memory than they are long', async (t) => {
    const { open, asked } = await serverOf(t);
    const answerTo = async (headers: number) => {
      const socket = await open();
      const more = Array.from({ length: headers - 1 }, (_, nth) => `z${nth}:z\r\n`).join('');
      socket.write(`GET / HTTP/1.1\r\nhost: agent\r\n${more}\r\n`);
      return sentTo(socket);
    };
    assert.match(await answerTo(65), /^HTTP\/1\.1 431 /);
    assert.deepEqual(asked, []);
    assert.match(await answerTo(64), /answer\n$/);
  });

  it('refuses a question of more than 16 KiB, and what is none', async (t) => {
    const { open, asked } = await serverOf(t);
    const long = await open();
    long.write(`GET / HTTP/1.1\r\nhost: ${'a'.repeat(100_000)}`);
    assert.match(await sentTo(long), /^HTTP\/1\.1 431 /);
    const none = await open();
    none.write('\x16\x03\x01 a client of TLS\r\n\r\n');
    assert.match(await sentTo(none), /^HTTP\/1\.1 400 /);
    assert.deepEqual(asked, []);
  });

  for (const [what, sent] of [
    ['asks nothing', ''],
    ['asks half a question', QUESTION.slice(0, 10)],
    ['has no answer yet', QUESTION],
  ] as const)
    it(`ends a connection that ${what}`, async (t) => {
      const { open } = await serverOf(t, { mostMs: 200, answer: () => {} });
      const socket = await open();
      socket.write(sent);
      assert.equal(await sentTo(socket), '');
    });

  it('ends a connection that does not take its answer', async (t) => {
    const { open } = await serverOf(t, {
      mostMs: 200,
      answer: (_, response) => response.end(Buffer.alloc(2 ** 26)),
    });
    const socket = await open();
    socket.write(QUESTION);
    await pause(0.4);
    const sent = await sentTo(socket);
    assert.ok(sent.length < 2 ** 26, String(sent.length));
  });

  for (const [what, question] of [
    ['its answer', QUESTION],
    ['the refusal of what is no question', 'none\r\n\r\n'],
  ] as const)
    it(`counts a connection that does not take ${what}`, async (t) => {
      const { open } = await serverOf(t);
      for (const socket of [await open(), await open()]) socket.write(question);
      await pause(0.2); // until the kernel has both
      const third = await open();
      third.write(QUESTION);
      assert.equal(await sentTo(third), '');
    });

  for (const [when, after, changes] of [
    ['in time', '', { mostMs: 300 }],
    ['when it goes on to ask', QUESTION, {}],
  ] as const)
    it(`drops what a connection has not taken ${when}, also from the kernel`, async (t) => {
      let asked = 0;
      const answer: Limited['answer'] = (_, response) => {
        asked += 1;
        response.end(Buffer.alloc(2 ** 20)); // less than the kernel here takes, and more than the other side
      };
      const { open } = await serverOf(t, { ...changes, answer });
      const socket = await open();
      socket.write(QUESTION);
      await pause(0.2);
      socket.write(after);
      await pause(0.3);
      assert.equal((await endOf(socket)).code, 'ECONNRESET');
      assert.equal(asked, 1);
    });

  it('drops the oldest answers of the address that takes the least, when too much waits', async (t) => {
    let asked = 0;
    const { open } = await serverOf(t, {
      mostConnections: 8,
      mostHeld: 3.5 * 2 ** 20,
      answer: (_, response) => {
        asked += 1;
        response.end(Buffer.alloc(2 ** 20));
      },
    });
    const sockets: Socket[] = [];
    for (const address of ['127.0.0.2', ...Array.from({ length: 8 }, () => '127.0.0.1')]) {
      const socket = await open(address);
      socket.write(QUESTION);
      sockets.push(socket);
      await waitFor('its answer', 5_000, async () => asked === sockets.length || undefined, 5);
    }
    const codes = (await Promise.all(sockets.map(endOf))).map(({ code }) => code);
    const dropped = Array.from({ length: 5 }, () => 'ECONNRESET');
    assert.deepEqual(codes, [undefined, ...dropped, undefined, undefined, undefined]);
  });

  it('drops the oldest connection of the address that has the most, when all together are too many', async (t) => {
    const { open, asked } = await serverOf(t, { mostHeld: 3.5 * CONNECTION_BYTES });
    const one = await open('127.0.0.2');
    const two = [await open('127.0.0.3'), await open('127.0.0.3')];
    for (const socket of [one, ...two]) socket.write(QUESTION.slice(0, -1));
    await pause(0.1); // all three are read
    const last = await open('127.0.0.4');
    last.write(QUESTION);
    assert.match(await sentTo(last), /answer\n$/);
    for (const socket of [one, ...two]) socket.write(QUESTION.slice(-1));
    const codes = (await Promise.all([one, ...two].map(endOf))).map(({ code }) => code);
    assert.deepEqual(codes, [undefined, 'ECONNRESET', undefined]);
    assert.equal(asked.length, 3);
  });

  it('frees the place of a connection whose time is over while it is being ended', async (t) => {
    let asked = 0;
    const { open } = await serverOf(t, {
      mostConnections: 1,
      mostMs: 50,
      answer: (_, response) => {
        asked += 1;
        busy(100);
        response.end('answer\n');
      },
    });
    const another = async () => {
      const socket = await open();
      socket.write(QUESTION);
      await sentTo(socket);
      return asked > 1 || undefined;
    };
    await waitFor('a place', 10_000, another);
  });

  for (const question of [QUESTION, 'none\r\n\r\n'])
    it(`counts no connection that both sides have ended after ${JSON.stringify(question)}`, async (t) => {
      const { open } = await serverOf(t);
      for (let count = 0; count < 10; count++) {
        const socket = await open();
        socket.write(question);
        assert.match(await text(socket), /^HTTP/);
      }
    });

  it('takes so many connections of one address, and another when one has ended', async (t) => {
    const { open, asked } = await serverOf(t);
    const [first] = await Promise.all([open(), open()]);
    const tooMany = await open();
    const begun = performance.now();
    tooMany.write(QUESTION);
    assert.equal(await sentTo(tooMany), '');
    assert.ok(performance.now() - begun > 500, 'it comes back at once');
    assert.deepEqual(asked, []);
    first?.destroy();
    const answered = async () => {
      const socket = await open();
      socket.write(QUESTION);
      return (await sentTo(socket)) === '' ? undefined : true;
    };
    await waitFor('a place', 5_000, answered);
  });
});
