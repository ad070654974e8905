import { Agent, request } from 'undici';
import type { Authority } from './pki.ts';

export type GetResponse = { readonly code: number; readonly text: string };

const TIMEOUT_MS = 20_000;

/** Reads as an admin. kubectl takes a tenth of a second of CPU to start, too much for polling. */
export class ApiReader {
  readonly #authority: Authority;
  #agent: Promise<Agent> | undefined;

  constructor(authority: Authority) {
    this.#authority = authority;
  }

  /** Rejects if the API server does not respond on that port of loopback. */
  async get(port: number, path: string): Promise<GetResponse> {
    this.#agent ??= this.#connect();
    const { statusCode, body } = await request(`https://127.0.0.1:${port}${path}`, {
      dispatcher: await this.#agent,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return { code: statusCode, text: await body.text() };
  }

  async #connect(): Promise<Agent> {
    const { cert, key } = await this.#authority.issue('admin', ['system:masters']);
    return new Agent({ connect: { ca: this.#authority.cert, cert, key } });
  }
}
