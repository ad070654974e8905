import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { jsonLines } from '../agent/kube/client.ts';
import { kubeRefusal } from '../agent/kube/error.ts';
import { errorLine } from '../agent/sanitize.ts';
import { pagesOf } from '../fleet/informers.ts';
import { readBody } from '../fleet/reports.ts';
import type { Access } from './access.ts';
import { sanitize, sanitizeValues } from './output.ts';
import { getForwarded } from './port-forward.ts';

/** What a request is made of; `type` is that of the body. */
type Asked = {
  readonly method: 'GET' | 'PATCH' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  readonly type?: string;
  readonly signal?: AbortSignal | undefined;
  /** Whether the answer may last, as that of a watch. */
  readonly lasting?: true;
  /** Whether an answer that is too long for an agent's is refused. */
  readonly bounded?: true;
};

/** A text that came back, whatever its code. */
export type Answer = { readonly code: number; readonly text: string; readonly type: string };

/** One line of a watch. */
export type WatchEvent<T> = { readonly type: string; readonly object: T };

const PAGE = '500';
const PATCHES = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
} as const;

/** The API server, as the plugin asks it. All texts that it gives are free of control characters. */
export class Api {
  readonly access: Access;
  readonly #timeoutMs: number;
  readonly #userAgent: string;
  readonly #stopped: AbortSignal;

  /** A request may take `timeoutMs`, where 0 is as long as it takes, and ends when the signal says so. */
  constructor(
    access: Access,
    { timeoutMs, userAgent, signal }: { timeoutMs: number; userAgent: string; signal: AbortSignal },
  ) {
    this.access = access;
    this.#timeoutMs = timeoutMs;
    this.#userAgent = userAgent;
    this.#stopped = signal;
  }

  /** An object; rejects with a KubeError when it is refused. */
  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.#json<T>({ method: 'GET', path, signal });
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    return this.#json<T>({ method: 'POST', path, body, type: 'application/json' });
  }

  async patch(
    path: string,
    body: unknown,
    kind: keyof typeof PATCHES,
    signal?: AbortSignal,
  ): Promise<unknown> {
    return this.#json({ method: 'PATCH', path, body, type: PATCHES[kind], signal });
  }

  /** Every object of a list, of which each page is reduced at once by `pick`, so that a large fleet fits in memory. */
  async list<T, V>(
    path: string,
    query: Readonly<Record<string, string>>,
    pick: (item: T) => V,
  ): Promise<{ readonly items: V[]; readonly resourceVersion: string }> {
    const items: V[] = [];
    let resourceVersion = '';
    const get = (words: string) => this.get(words);
    for await (const page of pagesOf<T>(get, path, { ...query, limit: PAGE })) {
      for (const item of page.items ?? []) items.push(pick(item));
      resourceVersion = page.metadata?.resourceVersion ?? '';
    }
    return { items, resourceVersion };
  }

  /** The answer, even a refusal; rejects only if there is none, or if it is longer than an agent's may be. */
  async ask(path: string, timeoutMs?: number): Promise<Answer> {
    const signal = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
    return this.#answer({ method: 'GET', path, signal, bounded: true });
  }

  /** The response of a pod over a port-forward, even a refusal of that; rejects as {@link ask} does. */
  async askPod(pod: string, port: number, path: string, mostMs: number): Promise<Answer> {
    const timeoutMs = Math.min(mostMs, this.#timeoutMs || mostMs);
    const late = AbortSignal.timeout(timeoutMs);
    const url = new URL(`${this.access.server.replace(/\/$/, '')}${pod}/portforward?ports=${port}`);
    url.protocol = url.protocol.replace('http', 'ws');
    const connection = await this.access.connection();
    const headers = {
      ...(connection.headers as http.OutgoingHttpHeaders | undefined),
      'user-agent': this.#userAgent,
    };
    const signal = AbortSignal.any([this.#stopped, late]);
    const { code, body } = await getForwarded(url, path, { ...connection, headers, signal }).catch(
      (error: unknown) => {
        if (late.aborted) throw new Error(`no answer within ${timeoutMs / 1_000} s`);
        throw error;
      },
    );
    if (body === undefined) throw new Error('the answer is too long');
    return { code, text: body.toString(), type: '' };
  }

  /** The lines of a watch until the server ends it. */
  async *watch<T>(path: string, signal: AbortSignal): AsyncIterable<WatchEvent<T>> {
    const response = await this.#send({ method: 'GET', path, signal, lasting: true });
    if (response.statusCode !== 200) throw await this.#refusal(path, 'GET', response);
    for await (const line of jsonLines(response)) yield sanitizeValues(line as WatchEvent<T>);
  }

  async #json<T>(asked: Asked): Promise<T> {
    const { code, text: body } = await this.#answer(asked);
    if (code >= 300) throw refusalOf(asked, code, body);
    try {
      return sanitizeValues(JSON.parse(body) as T);
    } catch {
      throw new Error(
        `${this.access.server} answers ${asked.method} ${asked.path} with no JSON: is it an API server?`,
      );
    }
  }

  async #answer(asked: Asked): Promise<Answer> {
    const response = await this.#send(asked);
    const { statusCode = 0, headers } = response;
    const read = async () => (asked.bounded ? readBody(new Response(response)) : text(response));
    const body = await read().catch((error: unknown) => {
      throw this.#unreachable(error);
    });
    if (body === undefined) throw new Error('the answer is too long');
    return { code: statusCode, text: body.toString(), type: headers['content-type'] ?? '' };
  }

  async #refusal(path: string, method: Asked['method'], response: IncomingMessage): Promise<Error> {
    return refusalOf({ method, path }, response.statusCode ?? 0, await text(response));
  }

  async #send({ method, path, body, type, signal, lasting }: Asked): Promise<IncomingMessage> {
    const connection = await this.access.connection();
    Object.assign(connection.agent ?? {}, { keepAlive: true });
    const url = new URL(`${this.access.server.replace(/\/$/, '')}${path}`);
    const deadline = lasting || this.#timeoutMs === 0 ? [] : [AbortSignal.timeout(this.#timeoutMs)];
    const options = {
      ...connection,
      method,
      signal: AbortSignal.any([this.#stopped, ...deadline, ...(signal === undefined ? [] : [signal])]),
      headers: {
        ...(connection.headers as http.OutgoingHttpHeaders | undefined),
        'user-agent': this.#userAgent,
        accept: 'application/json',
        ...(type === undefined ? {} : { 'content-type': type }),
      },
    };
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'http:' ? http.request : https.request;
      const request = send(url, options, resolve);
      request.on('error', (error) => reject(this.#unreachable(error)));
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #unreachable(error: unknown): Error {
    const { server, context } = this.access;
    const late =
      error instanceof Error && (error.name === 'TimeoutError' || errorCause(error) === 'TimeoutError');
    const why = late
      ? `no answer within ${this.#timeoutMs / 1_000} s (--request-timeout)`
      : sanitize(whyOf(error));
    return new Unreachable(`Cannot reach the API server ${server} (context "${context}"): ${why}`);
  }
}

/** Nothing answered. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

function errorCause({ cause }: Error): string {
  return cause instanceof Error ? cause.name : '';
}

/** Several addresses that failed are one error with several inside, and no words of its own. */
function whyOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(errorLine).join(', ');
  return error instanceof Error && 'syscall' in error ? error.message : errorLine(error);
}

function refusalOf({ method, path }: Pick<Asked, 'method' | 'path'>, code: number, body: string): Error {
  if (code === 401)
    return kubeRefusal('The API server does not accept your credential', code, {
      body: { message: 'log in again, or see what kubectl get nodes says' },
    });
  return kubeRefusal(`The API server refuses ${method} ${path}`, code, { body: statusOf(body) });
}

/** The object in which the API server says why; a proxy before it may answer anything. */
function statusOf(body: string): { readonly message: string } {
  try {
    const { message } = JSON.parse(body) as { readonly message?: string };
    if (typeof message === 'string') return { message: sanitize(message) };
  } catch {
    // Not the API server's.
  }
  return { message: sanitize(body).slice(0, 200) || 'no message' };
}
