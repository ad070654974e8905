import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import type { Machine } from '../machine/machine.ts';
import { CONTROL_PLANE_ADDRESS } from '../plan/addresses.ts';

/** On a free port by default. */
export async function listenOnLoopback(
  port = 0,
): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

/** An address in the control plane's network; `name` is the daemon's. */
export type RelayTarget = { readonly name: string; readonly address: string; readonly port: number };

const API_SERVER: RelayTarget = { name: 'relay', address: CONTROL_PLANE_ADDRESS, port: 443 };

/** Hands `server` over to a process that relays its connections. */
export async function startRelay(controlPlane: Machine, server: Server, target = API_SERVER): Promise<void> {
  const { name, address, port } = target;
  const script = `echo $$ >/run/daemons/${name}; exec "$@"`;
  const node = [process.execPath, join(REPO, 'cluster/control-plane/relay.ts'), address, String(port)];
  const [first = '', ...rest] = controlPlane.enter('/bin/sh', '-c', script, name, ...node);
  const child = fork(first, rest, {
    execPath: 'nsenter',
    execArgv: [],
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'json',
  });
  child.send('listen', server);
  try {
    const late = { signal: AbortSignal.timeout(20_000) };
    await Promise.race([
      once(child, 'message', late),
      once(child, 'exit', late).then(() =>
        Promise.reject(new Error(`The relay to ${address}:${port} did not start`)),
      ),
    ]);
  } finally {
    // An open server would keep this process alive.
    child.unref();
    if (child.connected) child.disconnect();
    server.close();
  }
}
