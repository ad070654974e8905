import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import https, { type RequestOptions } from 'node:https';
import { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { errorLine, sanitizeLine } from '../../lib/base/sanitize.ts';
import { KubeError, kubeRefusal } from '../../lib/kube/error.ts';
import { pagesOf } from '../../lib/kube/pages.ts';
import type { KubeconfigAccess } from './kubeconfig.ts';
import { getForwarded, openPort, responseOf, type TextResponse } from './port-forward.ts';

/** In JSON times are strings. */
type Json<T> = T extends Date ? string : T extends object ? { readonly [Key in keyof T]: Json<T[Key]> } : T;

/** Cluster-scoped objects have no namespace. */
export type ApiObject<T> = Json<T> & {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
};

type ApiOptions = {
  /** The namespace of gvisor-ready. */
  readonly installedIn: string;
  /** Bounds each request; 0 means no timeout. */
  readonly timeoutMs: number;
  readonly headers: OutgoingHttpHeaders;
  readonly signal: AbortSignal;
};

/** `type` is the content type of the body. */
type ApiRequest = {
  readonly method: 'GET' | 'PATCH' | 'POST';
  readonly path: string;
  readonly body?: unknown;
  readonly type?: string;
};

/** Of a response from a pod. */
type PodLimits = { readonly maxMs: number; readonly maxBytes: number };

/** Without a selector a list has every object. */
type ListQuery = { readonly labelSelector?: string | undefined; readonly fieldSelector?: string };

const PAGE = '500';
const PATCHES = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
} as const;

/**
 * Sanitizes every string that it returns. The official client serves for the kubeconfig alone:
 * docs/decisions/kubectl.md.
 */
export class Api {
  readonly access: KubeconfigAccess;
  readonly installedIn: string;
  readonly #options: ApiOptions;

  constructor(access: KubeconfigAccess, options: ApiOptions) {
    this.access = access;
    this.installedIn = options.installedIn;
    this.#options = options;
  }

  /** Rejects with a KubeError if it is refused. */
  async get<T>(path: string): Promise<T> {
    return this.#json<T>({ method: 'GET', path });
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    return this.#json<T>({ method: 'POST', path, body, type: 'application/json' });
  }

  async patch<T>(path: string, body: unknown, kind: keyof typeof PATCHES): Promise<T> {
    return this.#json<T>({ method: 'PATCH', path, body, type: PATCHES[kind] });
  }

  /** Page by page, keeping only what `pick` returns, so that a large cluster fits in memory. */
  async list<T, Kept = ApiObject<T>>(
    path: string,
    { labelSelector, ...query }: ListQuery = {},
    pick: (item: ApiObject<T>) => Kept = (item) => item as Kept,
  ): Promise<Kept[]> {
    const items: Kept[] = [];
    const get = (page: string) => this.get(page);
    const parameters = { ...query, ...(labelSelector && { labelSelector }), limit: PAGE };
    for await (const page of pagesOf<ApiObject<T>>(get, path, parameters))
      items.push(...(page.items ?? []).map(pick));
    return items;
  }

  /** Over a port-forward, whatever the status code; a refusal is a response as well. */
  async getFromPod(
    pod: string,
    port: number,
    path: string,
    { maxMs, maxBytes }: PodLimits,
  ): Promise<TextResponse> {
    const timeoutMs = Math.min(maxMs, this.#options.timeoutMs || maxMs);
    const timeout = AbortSignal.timeout(timeoutMs);
    const url = this.#portUrl(pod, port);
    const signal = AbortSignal.any([this.#options.signal, timeout]);
    const options = { ...(await this.#connection()), signal };
    return getForwarded(url, path, { ...options, maxBytes }).catch((error: unknown) => {
      throw timeout.aborted ? new Error(`no response within ${timeoutMs / 1_000} s`) : error;
    });
  }

  /** Through the API server's proxy, which needs no containerd, and `get` of `pods/proxy`. */
  async getThroughProxy(
    pod: string,
    port: number,
    path: string,
    { maxMs, maxBytes }: PodLimits,
  ): Promise<TextResponse> {
    const response = await this.#send({ method: 'GET', path: `${pod}:${port}/proxy${path}` }, maxMs);
    return responseOf(response, maxBytes);
  }

  /** Over a port-forward; rejects with the reason of a refusal. */
  async connectToPod(pod: string, port: number): Promise<Duplex> {
    const options = { ...(await this.#connection()), signal: this.#options.signal };
    const opened = await openPort(this.#portUrl(pod, port), options).catch((error: unknown) => {
      throw this.#unreachable(error);
    });
    if (opened instanceof Duplex) return opened;
    throw refusalOf({ method: 'GET', path: `${pod}/portforward` }, opened, await text(opened));
  }

  async #json<T>(request: ApiRequest): Promise<T> {
    const response = await this.#send(request);
    const body = await text(response).catch((error: unknown) => {
      throw this.#unreachable(error);
    });
    if ((response.statusCode ?? 0) >= 300) throw refusalOf(request, response, body);
    try {
      return sanitizeValues(JSON.parse(body) as T);
    } catch {
      throw new Error(
        `${this.access.server} answers ${request.method} ${request.path} with no JSON: is it an API server?`,
      );
    }
  }

  #url(path: string): URL {
    return new URL(`${this.access.server.replace(/\/$/, '')}${path}`);
  }

  #portUrl(pod: string, port: number): URL {
    const url = this.#url(`${pod}/portforward?ports=${port}`);
    url.protocol = url.protocol.replace('http', 'ws');
    return url;
  }

  async #connection(): Promise<RequestOptions & { readonly headers: OutgoingHttpHeaders }> {
    const connection = await this.access.connection();
    const headers = connection.headers as OutgoingHttpHeaders | undefined;
    return { ...connection, headers: { ...headers, ...this.#options.headers } };
  }

  async #send(
    { method, path, body, type }: ApiRequest,
    maxMs = Number.POSITIVE_INFINITY,
  ): Promise<IncomingMessage> {
    const { headers, ...connection } = await this.#connection();
    Object.assign(connection.agent ?? {}, { keepAlive: true });
    const url = this.#url(path);
    const timeoutMs = Math.min(maxMs, this.#options.timeoutMs || maxMs);
    const limits = timeoutMs === Number.POSITIVE_INFINITY ? [] : [AbortSignal.timeout(timeoutMs)];
    const options = {
      ...connection,
      method,
      signal: AbortSignal.any([this.#options.signal, ...limits]),
      headers: { ...headers, accept: 'application/json', ...(type && { 'content-type': type }) },
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
    const cause = isTimeout(error)
      ? `no response within ${this.#options.timeoutMs / 1_000} s (--request-timeout)`
      : sanitizeLine(causeOf(error));
    return new UnreachableError(`Cannot reach the API server ${server} (context "${context}"): ${cause}`);
  }
}

/** Undefined if the API server refuses with one of these status codes. */
export async function optional<T>(
  promise: Promise<T>,
  codes: readonly number[] = [404],
): Promise<T | undefined> {
  return promise.catch((error: unknown) => {
    if (error instanceof KubeError && codes.includes(error.status)) return undefined;
    throw error;
  });
}

export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** In place, because pods and nodes write what the API server returns. */
export function sanitizeValues<T>(value: T): T {
  if (typeof value === 'string') return sanitizeLine(value) as T;
  if (typeof value !== 'object' || value === null) return value;
  const object = value as Record<string, unknown>;
  // No copy of the entries: a view of the fleet has thousands of rows.
  for (const key of Object.keys(object)) {
    const each = object[key];
    if (typeof each === 'string' || typeof each === 'object') object[key] = sanitizeValues(each);
  }
  return value;
}

function isTimeout(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return [error, cause].some((each) => each instanceof Error && each.name === 'TimeoutError');
}

function causeOf(error: unknown): string {
  // Thrown if all addresses of a host fail; it has no message of its own.
  if (error instanceof AggregateError) return error.errors.map(errorLine).join(', ');
  return error instanceof Error && 'syscall' in error ? error.message : errorLine(error);
}

function refusalOf(
  { method, path }: ApiRequest,
  { statusCode: code = 0, headers }: IncomingMessage,
  body: string,
): Error {
  if (code === 401)
    return kubeRefusal('The API server does not accept your credential', code, {
      body: { message: 'log in again, or see what kubectl get nodes says' },
    });
  const retryAfter = headers['retry-after'];
  return kubeRefusal(`The API server refuses ${method} ${path}`, code, { body: statusOf(body), retryAfter });
}

/** A proxy in front of the API server may send anything. */
function statusOf(body: string): { readonly message: string } {
  try {
    const { message } = JSON.parse(body) as { readonly message?: string };
    if (typeof message === 'string') return { message: sanitizeLine(message) };
  } catch {
    // Not from the API server.
  }
  return { message: sanitizeLine(body).slice(0, 200) || 'no message' };
}
