import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type WebSocket, WebSocketServer } from 'ws';
import { openAuthority } from '../../cluster/control-plane/pki.ts';

/** A response that is not an object with 200. */
export type StubResponse = {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
  readonly retryAfter?: string;
  /** Compressed over a port-forward. */
  readonly gzip?: true;
};

/** Response of a path: an object, a whole response, or a function of the request; null never responds. */
export type Stub = object | StubResponse | null | ((url: URL, body: string, method: string) => Stub);

/** An HTTPS server that serves the stubs of a test as the API server would. */
export class FakeApi {
  /** By path, with or without its labelSelector; a path without a stub responds 404. "watch PATH" refuses watches, "POST PATH" is for writes alone. */
  readonly stubs = new Map<string, Stub>();
  /** Requests as "GET /path?query". */
  readonly requests: string[] = [];
  readonly authorizations: string[] = [];
  /** The user and the groups that requests impersonate. */
  readonly impersonations: string[] = [];
  readonly patched: unknown[] = [];
  /** Open watches, to which a test writes events. */
  readonly watches: ServerResponse[] = [];
  /** Called for each watch. */
  onWatch: (url: URL, response: ServerResponse) => void = () => {};
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });

  constructor(credential: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(credential, (request, response) => void this.#respond(request, response));
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#forward(request, socket, head),
    );
  }

  /** Forwards a port to the stub of the pod's proxy path; a stub of the path itself refuses. */
  #forward(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const url = new URL(request.url ?? '/', 'https://fake');
    this.#record(request);
    const refusal = this.stubs.get(url.pathname);
    if (refusal === null) return;
    if (refusal !== undefined) {
      const { status, body } = refusal as StubResponse;
      socket.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\n\r\n${body}`);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (port) => {
      this.#serve(port, url);
    });
  }

  #record({ method, url, headers }: IncomingMessage): void {
    this.requests.push(`${method} ${url}`);
    this.impersonations.push(`${headers['impersonate-user']} ${headers['impersonate-group']}`);
  }

  #serve(port: WebSocket, url: URL): void {
    const number = Number(url.searchParams.get('ports'));
    for (const stream of [0, 1]) port.send(Buffer.of(stream, number % 256, number >> 8));
    port.once('message', (message: Buffer) => {
      const [, path = ''] = /^GET (\S+) HTTP\/1\.1\r\n/.exec(message.subarray(1).toString()) ?? [];
      const found = this.stubs.get(url.pathname.replace('/portforward', `:${number}/proxy${path}`));
      const stub = typeof found === 'function' ? found(url, '', 'GET') : found;
      if (stub === null) return;
      if (stub === undefined) {
        port.send(Buffer.from('\u0001connection refused'));
        return port.close();
      }
      const { status, body, gzip } = responseOf(stub);
      const head = `HTTP/1.1 ${status} Response\r\nconnection: close\r\n${gzip ? 'content-encoding: gzip\r\n' : ''}\r\n`;
      const bytes = Buffer.concat([Buffer.from(head), gzip ? gzipSync(body) : Buffer.from(body)]);
      for (let at = 0; at < bytes.length; at += 32_768)
        port.send(Buffer.concat([Buffer.of(0), bytes.subarray(at, at + 32_768)]));
      port.close();
    });
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const { method = '' } = request;
    const url = new URL(request.url ?? '/', 'https://fake');
    this.#record(request);
    this.authorizations.push(request.headers.authorization ?? '');
    if (method === 'PATCH') this.patched.push(JSON.parse(body));
    const isWatch = url.searchParams.has('watch');
    if (isWatch && !this.stubs.has(`watch ${url.pathname}`)) {
      response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
      this.watches.push(response);
      return this.onWatch(url, response);
    }
    const selected = `${url.pathname}?labelSelector=${url.searchParams.get('labelSelector')}`;
    const path = this.stubs.has(selected) ? selected : url.pathname;
    const written = `${method} ${url.pathname}`;
    const read = this.stubs.has(written) ? written : path;
    const key = isWatch ? `watch ${url.pathname}` : read;
    const found = this.stubs.get(key) ?? null;
    const stub = typeof found === 'function' ? await found(url, body, method) : found;
    if (stub === null && this.stubs.has(key)) return;
    const reply = stub === null ? refusal(404, `${url.pathname} not found`) : responseOf(stub);
    const { status, type = 'application/json', retryAfter } = reply;
    const headers = {
      'content-type': type,
      ...(retryAfter === undefined ? {} : { 'retry-after': retryAfter }),
    };
    response.writeHead(status, headers).end(reply.body);
  }

  /** Serves a list of objects. */
  list(path: string, items: readonly object[]): void {
    this.stubs.set(path, { items, metadata: { resourceVersion: '1' } });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

function responseOf(stub: object): StubResponse {
  if ('status' in stub && typeof stub.status === 'number') return stub as StubResponse;
  return { status: 200, body: JSON.stringify(stub) };
}

/** A refusal of the API server. */
export function refusal(status: number, message: string, retryAfter?: string): StubResponse {
  const body = JSON.stringify({ kind: 'Status', status: 'Failure', message, code: status });
  return { status, body, ...(retryAfter === undefined ? {} : { retryAfter }) };
}

/** A refusal of RBAC. */
export function forbidden(verb: string, resource: string, namespace?: string): StubResponse {
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  return refusal(
    403,
    `${resource} is forbidden: User "u" cannot ${verb} resource "${resource}" in API group "" ${where}`,
  );
}

/** Starts a fake API server with a kubeconfig for it; both are removed after the test. */
export async function fakeApi(
  context: TestContext,
): Promise<{ readonly api: FakeApi; readonly kubeconfig: string; readonly directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'kubectl-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const authority = await openAuthority(directory);
  const api = new FakeApi(await authority.issue('kube-apiserver', [], ['127.0.0.1']));
  const port = await api.listen();
  context.after(() => api.close());
  const kubeconfig = join(directory, 'kubeconfig');
  await writeFile(kubeconfig, JSON.stringify(configOf(`https://127.0.0.1:${port}`, directory)));
  return { api, kubeconfig, directory };
}

/** A kubeconfig with a token. */
export function configOf(server: string, directory: string, user: object = { token: 'secret' }) {
  return {
    'current-context': 'fake',
    contexts: [
      { name: 'fake', context: { cluster: 'fake', user: 'u', namespace: 'eval' } },
      { name: 'other', context: { cluster: 'gone', user: 'u' } },
    ],
    clusters: [{ name: 'fake', cluster: { server, 'certificate-authority': join(directory, 'ca.crt') } }],
    users: [{ name: 'u', user }],
  };
}
