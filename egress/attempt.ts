import net from 'node:net';

/** `host` is an IP address: no name is resolved. */
export type Target = { readonly name: string; readonly host: string; readonly port: number };

/** "refused" is an answer of the target or of a firewall that rejects, which look the same; "unseen" says nothing. */
export type Outcome = 'open' | 'refused' | 'closed' | 'unseen';

const OUTCOMES: Readonly<Record<string, Outcome>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'open',
  EACCES: 'closed',
  EHOSTUNREACH: 'closed',
  ENETUNREACH: 'closed',
  EPERM: 'closed',
  ETIMEDOUT: 'closed',
};

export const TIMEOUT_MS = 1_000;
/** A timer that is later than this lacked processor time, as an answer may have. */
const LATE_MS = 200;

/** Connects once by TCP, and sends no data. */
export function attempt({ host, port }: Target, timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    const startMs = performance.now();
    const socket = net.connect({ host, port });
    const end = (outcome: Outcome) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const expire = () => end(performance.now() - startMs > timeoutMs + LATE_MS ? 'unseen' : 'closed');
    // An answer that has arrived is read before this.
    const timer = setTimeout(() => setImmediate(expire), timeoutMs);
    socket.once('connect', () => end('open'));
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => end(OUTCOMES[code] ?? 'unseen'));
  });
}

/** Whether something answered. */
export function isOpen(outcome: Outcome, isRefusedOpen: boolean): boolean {
  return outcome === 'open' || (outcome === 'refused' && isRefusedOpen);
}
