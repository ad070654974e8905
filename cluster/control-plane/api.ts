import { Agent, request } from 'undici';
import type { Authority } from './pki.ts';

/** What came back: the status code and the body's text. */
export type Answer = { readonly code: number; readonly text: string };

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 20_000;

/**
 * Asks a cluster's API server as an admin, without a process for each question: kubectl needs a tenth of a second of
 * processor time to start, too much for what is asked again and again.
 */
export class ApiReader {
  readonly #authority: Authority;
  #agent: Promise<Agent> | undefined;

  constructor(authority: Authority) {
    this.#authority = authority;
  }

  /** Gets a path, with its query, from the API server on that port of the loopback. Rejects when it does not answer. */
  async get(port: number, path: string): Promise<Answer> {
    this.#agent ??= this.#connect();
    const { statusCode, body } = await request(`https://127.0.0.1:${port}${path}`, {
      dispatcher: await this.#agent,
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return { code: statusCode, text: await body.text() };
  }

  async #connect(): Promise<Agent> {
    const { cert, key } = await this.#authority.issue('admin', ['system:masters']);
    return new Agent({ connect: { ca: this.#authority.cert, cert, key } });
  }
}
