import type { Socket } from 'node:net';
import { drop } from './one-question.ts';

/**
 * Drops answers that are not taken until no more than so many bytes wait, in this process and in the kernel: of the address
 * for which the most wait its oldest connection. An answer counts as a whole until its connection has ended.
 */
export function makeRoom(addresses: Iterable<Iterable<Socket>>, mostBytes: number): void {
  const waiting = Array.from(addresses, (sockets) => {
    const answered = Array.from(sockets, (socket) => ({ socket, bytes: bytesOf(socket) }));
    return { answered, bytes: answered.reduce((sum, { bytes }) => sum + bytes, 0) };
  });
  let total = waiting.reduce((sum, { bytes }) => sum + bytes, 0);
  while (total > mostBytes) {
    const worst = waiting.reduce((most, each) => (each.bytes > most.bytes ? each : most));
    const oldest = worst.answered.shift();
    if (oldest === undefined) return;
    if (oldest.bytes > 0) drop(oldest.socket);
    worst.bytes -= oldest.bytes;
    total -= oldest.bytes;
  }
}

function bytesOf({ destroyed, bytesWritten }: Socket): number {
  return destroyed ? 0 : bytesWritten;
}
