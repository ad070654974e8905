import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { CriClient } from '../../agent/containerd/client.ts';
import { reviveContainerd } from '../../installer/containerd.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'revive-'));
});
after(() => rm(directory, { recursive: true }));

/** Whether an interrupted installation restarts the containerd behind a socket. */
async function restarts(name: string): Promise<boolean> {
  const socket = join(directory, name);
  const mark = join(directory, `${name}-restarted`);
  using client = new CriClient(socket, socket);
  const node = { root: '/', client, restartCommand: `touch ${mark}; exit 3` };
  await reviveContainerd(node, undefined).catch(() => {});
  return existsSync(mark);
}

const sockets: Socket[] = [];

it('restarts a containerd that is stopped, and not one that is slow', async () => {
  const silent = createServer((socket) => void sockets.push(socket)).listen(join(directory, 'slow'));
  await once(silent, 'listening');
  assert.deepEqual([await restarts('stopped'), await restarts('slow')], [true, false]);
  silent.close();
  for (const socket of sockets) socket.destroy();
});
