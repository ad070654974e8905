import { connect, type Server, type Socket } from 'node:net';

/**
 * Relays connections from the host's loopback to the control plane: relay.ts <address> <port>. It runs in the control
 * plane's namespaces; the parent sends the listening socket over IPC.
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
