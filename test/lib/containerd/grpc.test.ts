import assert from 'node:assert/strict';
import { once } from 'node:events';
import { constants, createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { waitFor } from '../../../hack/run.ts';
import { GrpcClient } from '../../../lib/containerd/grpc.ts';
import { PATIENT_MS, tempHost } from '../host/temp-host.ts';

const VERSION = { method: 'Version', path: '/Version', message: new Uint8Array(), metadata: {} };
/** An empty message of gRPC. */
const EMPTY = Buffer.alloc(5);

function answer(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200 }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(EMPTY);
}

/** A client of a server that hands out the streams of calls. */
async function connected(t: TestContext) {
  const { root } = await tempHost(t);
  const socket = join(root, 'server.sock');
  const server = createServer();
  const sessions: ServerHttp2Session[] = [];
  server.on('session', (session) => sessions.push(session));
  server.listen(socket);
  await once(server, 'listening');
  const client = new GrpcClient(socket);
  t.after(() => {
    client.close();
    server.close();
  });
  const nextStream = async () => (await once(server, 'stream'))[0] as ServerHttp2Stream;
  return { client, sessions, nextStream };
}

describe('GrpcClient', () => {
  it('opens another connection for the calls after a GOAWAY, and completes the one before', async (t) => {
    const { client, sessions, nextStream } = await connected(t);
    const opened = nextStream();
    const before = client.unary({ ...VERSION, timeoutMs: PATIENT_MS });
    const first = await opened;
    const [session] = sessions;
    session?.goaway();
    await new Promise<void>((resolve) => session?.ping(() => resolve())); // the client has read it
    const reopened = nextStream();
    const after = client.unary({ ...VERSION, timeoutMs: PATIENT_MS });
    answer(await reopened);
    await after;
    answer(first);
    await before;
    assert.equal(sessions.length, 2);
  });

  it('cancels a call that times out, so that the server ends its work', async (t) => {
    const { client, nextStream } = await connected(t);
    const opened = nextStream();
    const late = assert.rejects(client.unary({ ...VERSION, timeoutMs: 1 }), { kind: 'timeout' });
    const stream = await opened;
    await late;
    await waitFor('the end of the call', 10_000, async () => stream.closed);
    assert.equal(stream.rstCode, constants.NGHTTP2_CANCEL);
  });
});
