import type { ConnectionOptions } from 'node:tls';
import Agent from 'undici/lib/dispatcher/agent.js';

/** How to reach an API server and prove who one is. Certificates and keys are PEM. */
export type KubeAccess = {
  /** URL without a slash at its end. */
  readonly server: string;
  readonly tls?: Pick<ConnectionOptions, 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** The CA of the moment; without it those that Node.js trusts. */
  readonly readCa?: () => Promise<string>;
  /** The bearer token of the moment; absent where a certificate is the credential. */
  readonly token?: () => Promise<string>;
};

/** A kubelet reports every 5 minutes when nothing changes, so a watch of a Node is not silent for longer. */
const SILENCE_MS = 900_000;

type Agents = { readonly ca: string | undefined; readonly short: Agent; readonly long: Agent };

/**
 * The connections to the API server. A CA that was replaced takes effect with the next connection; requests and
 * watches on older connections go on to their end.
 */
export class KubeConnections {
  readonly #access: KubeAccess;
  readonly #answerMs: number;
  /**
   * All agents, the replaced ones too. An idle connection ends by itself within seconds, and one with a watch ends
   * with the watch. undici's close() is of no use here: destroy() after it ends nothing.
   */
  readonly #made: Agent[] = [];
  #agents: Agents | undefined;

  /** A watch is given up when its answer does not begin within `answerMs` milliseconds. */
  constructor(access: KubeAccess, answerMs: number) {
    this.#access = access;
    this.#answerMs = answerMs;
  }

  /** Reads the CA, and gives the connections that trust it: for short requests, and for watches, which hold theirs. */
  async current(): Promise<Omit<Agents, 'ca'>> {
    const ca = await this.#access.readCa?.();
    if (this.#agents === undefined || this.#agents.ca !== ca) this.#agents = this.#make(ca);
    return this.#agents;
  }

  /** Ends all connections, also those in use. */
  async close(): Promise<void> {
    await Promise.all(this.#made.map((agent) => agent.destroy()));
  }

  #make(ca: string | undefined): Agents {
    const connect = { ...this.#access.tls, ...(ca === undefined ? {} : { ca }), timeout: 5_000 };
    // Three ask at a time: an event or a list that hangs must not hold up what is written to the Node.
    const short = new Agent({ connect, connections: 3 });
    const long = new Agent({ connect, headersTimeout: this.#answerMs, bodyTimeout: SILENCE_MS });
    this.#made.push(short, long);
    return { ca, short, long };
  }
}
