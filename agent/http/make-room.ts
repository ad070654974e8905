import type { Socket } from 'node:net';
import { drop } from './one-question.ts';

/** As much as a connection costs without an answer: a question that never ends, and what Node keeps for it. */
export const CONNECTION_BYTES = 32_768;

/**
 * Drops connections until all together hold no more than so many bytes, in this process and in the kernel: of the address
 * that holds the most its oldest. An answer counts as a whole until its connection has ended.
 */
export function makeRoom(addresses: Iterable<Iterable<Socket>>, mostBytes: number): void {
  const held = Array.from(addresses, (sockets) => {
    const open = Array.from(sockets, (socket) => ({ socket, bytes: bytesOf(socket) }));
    return { open, bytes: open.reduce((sum, { bytes }) => sum + bytes, 0) };
  });
  let total = held.reduce((sum, { bytes }) => sum + bytes, 0);
  while (total > mostBytes) {
    const worst = held.reduce((most, each) => (each.bytes > most.bytes ? each : most));
    const oldest = worst.open.shift();
    if (oldest === undefined) return;
    if (oldest.bytes > 0) drop(oldest.socket);
    worst.bytes -= oldest.bytes;
    total -= oldest.bytes;
  }
}

function bytesOf({ destroyed, bytesWritten }: Socket): number {
  return destroyed ? 0 : CONNECTION_BYTES + bytesWritten;
}
