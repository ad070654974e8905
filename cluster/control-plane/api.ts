import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import { kubeconfigAccess } from '../../agent/kube/kubeconfig.ts';

/** What came back: the status code and the body's text. */
export type Answer = { readonly code: number; readonly text: string };

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 20_000;

/**
 * Asks a cluster's API server as the user of a kubeconfig, without a process for each question: kubectl needs a tenth of
 * a second of processor time to start, too much for what is asked again and again.
 */
export class ApiReader {
  readonly #kubeconfig: string;
  #text = '';
  #server = '';
  #agent: Agent | undefined;

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
  }

  /** Gets a path, with its query. Rejects when the API server does not answer. */
  async get(path: string): Promise<Answer> {
    await this.#read();
    const { statusCode, body } = await request(`${this.#server}${path}`, {
      ...(this.#agent === undefined ? {} : { dispatcher: this.#agent }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return { code: statusCode, text: await body.text() };
  }

  async #read(): Promise<void> {
    const text = await readFile(this.#kubeconfig, 'utf8');
    if (text === this.#text) return;
    const { server, tls } = await kubeconfigAccess(this.#kubeconfig);
    await this.#agent?.close();
    this.#agent = new Agent({ connect: tls });
    this.#server = server;
    this.#text = text;
  }
}
