import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import { parse } from 'yaml';

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
    const { clusters, users } = parse(text) as Kubeconfig;
    const decoded = (data: string | undefined) => Buffer.from(data ?? '', 'base64').toString();
    const { server = '', 'certificate-authority-data': ca } = clusters[0]?.cluster ?? {};
    const { 'client-certificate-data': cert, 'client-key-data': key } = users[0]?.user ?? {};
    await this.#agent?.close();
    this.#agent = new Agent({ connect: { ca: decoded(ca), cert: decoded(cert), key: decoded(key) } });
    this.#server = server;
    this.#text = text;
  }
}

type Kubeconfig = {
  readonly clusters: readonly {
    readonly cluster: { readonly server: string; readonly 'certificate-authority-data': string };
  }[];
  readonly users: readonly {
    readonly user: { readonly 'client-certificate-data': string; readonly 'client-key-data': string };
  }[];
};
