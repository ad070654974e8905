import { connect, type Server, type Socket } from 'node:net';

/**
 * Brings connections from the host's loopback to the control plane. The listening socket is made by
 * the parent in the host's network namespace and sent here; this process runs in the control plane's
 * namespaces, so what it dials is there, and it ends with them.
 * usage: relay.ts <address> <port>, with the server sent over IPC
 */
const [address = '', port = ''] = process.argv.slice(2);

process.once('message', (_message, server) => {
  (server as Server).on('connection', (near: Socket) => {
    const far = connect(Number(port), address);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.setNoDelay(true);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  });
  process.send?.('ready', () => process.disconnect());
});
