import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { SCHEMA } from '../../../lib/containerd/schema.ts';

/** A decoded request of ttrpc. */
type Request = {
  readonly service: string;
  readonly method: string;
  readonly payload: { readonly id: string };
};

/** The header of a ttrpc message: length, stream, type. */
export function frame(type: number, body = Buffer.alloc(0), stream = 1): Buffer {
  const header = Buffer.alloc(10);
  header.writeUInt32BE(body.length, 0);
  header.writeUInt32BE(stream, 4);
  header.writeUInt8(type, 8);
  return Buffer.concat([header, body]);
}

/**
 * A shim's socket: a real server of ttrpc, which `respond` lets answer; by default at once. Returns its connections and
 * the requests that it has read.
 */
export async function fakeShim(
  context: TestContext,
  socket: string,
  respond: (connection: Socket) => void = (connection) => connection.write(frame(2)),
) {
  const connections: Socket[] = [];
  const requests: Request[] = [];
  const server = createServer((connection) => {
    connections.push(connection);
    connection.on('error', () => {});
    connection.on('data', (bytes) => {
      requests.push(SCHEMA.lookupType('ttrpc.Request').decode(bytes.subarray(10)).toJSON() as Request);
      respond(connection);
    });
  });
  server.listen(socket);
  await once(server, 'listening');
  context.after(() => {
    server.close();
    for (const connection of connections) connection.destroy();
    rmSync(socket, { force: true });
  });
  return { connections, requests };
}
