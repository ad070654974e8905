import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { openAuthority } from '../../cluster/control-plane/pki.ts';

/** What is answered: an object with 200, or what is said here. */
export type Answer = {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
};

/** What lies behind a path: an object, an answer, or what decides so by the request's URL; null answers nothing. */
export type Behind = object | Answer | null | ((url: URL, body: string) => object | Answer | null);

/** A real HTTPS server with the API server's manners: what lies behind a path is what the test puts there. */
export class FakeApi {
  /** By path without query. A path that is not there is answered 404. */
  readonly behind = new Map<string, Behind>();
  /** What was asked, as "GET /path?query". */
  readonly asked: string[] = [];
  readonly authorizations: string[] = [];
  readonly patched: unknown[] = [];
  /** The open watches, to which a test writes lines. */
  readonly watches: ServerResponse[] = [];
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });

  constructor(credential: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(credential, (request, response) => void this.#answer(request, response));
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#forward(request, socket, head),
    );
  }

  /** Forwards a port to what lies behind the proxy's path of that pod; an answer behind the path itself is a refusal. */
  #forward(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const url = new URL(request.url ?? '/', 'https://fake');
    this.asked.push(`${request.method} ${request.url}`);
    const found = this.behind.get(url.pathname);
    if (found === null) return;
    if (found !== undefined) {
      const { status, body } = found as Answer;
      socket.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\n\r\n${body}`);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (port) => {
      this.#serve(port, url);
    });
  }

  #serve(port: WebSocket, url: URL): void {
    const number = Number(url.searchParams.get('ports'));
    for (const stream of [0, 1]) port.send(Buffer.of(stream, number % 256, number >> 8));
    port.once('message', (message: Buffer) => {
      const [, path = ''] = /^GET (\S+) HTTP\/1\.1\r\n/.exec(message.subarray(1).toString()) ?? [];
      const found = this.behind.get(url.pathname.replace('/portforward', `:${number}/proxy${path}`));
      if (found === null) return;
      if (found === undefined) {
        port.send(Buffer.from('\u0001connection refused'));
        return port.close();
      }
      const { status, body } =
        'status' in found && typeof found.status === 'number'
          ? (found as Answer)
          : { status: 200, body: JSON.stringify(found) };
      const text = `HTTP/1.1 ${status} Answer\r\nconnection: close\r\n\r\n${body}`;
      for (let at = 0; at < text.length; at += 32_768)
        port.send(Buffer.from(`\u0000${text.slice(at, at + 32_768)}`));
      port.close();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const url = new URL(request.url ?? '/', 'https://fake');
    this.asked.push(`${request.method} ${request.url}`);
    this.authorizations.push(request.headers.authorization ?? '');
    if (request.method === 'PATCH') this.patched.push(JSON.parse(body));
    if (url.searchParams.get('watch') === '1') {
      response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
      this.watches.push(response);
      return;
    }
    const found = this.behind.get(url.pathname);
    const answer = typeof found === 'function' ? found(url, body) : found;
    if (answer === null) return;
    if (answer === undefined) return send(response, refusal(404, `${url.pathname} not found`));
    if ('status' in answer && typeof answer.status === 'number') return send(response, answer as Answer);
    send(response, { status: 200, body: JSON.stringify(answer) });
  }

  /** Puts objects behind the path of a list. */
  list(path: string, items: readonly object[]): void {
    this.behind.set(path, { items, metadata: { resourceVersion: '1' } });
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

function send(response: ServerResponse, { status, body, type = 'application/json' }: Answer): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}

/** What the API server says when it refuses. */
export function refusal(status: number, message: string): Answer {
  return { status, body: JSON.stringify({ kind: 'Status', status: 'Failure', message, code: status }) };
}

/** RBAC's words. */
export function forbidden(verb: string, resource: string, namespace?: string): Answer {
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  return refusal(
    403,
    `${resource} is forbidden: User "u" cannot ${verb} resource "${resource}" in API group "" ${where}`,
  );
}

/** A running fake and the kubeconfig that leads to it, both gone after the test. */
export async function fakeApi(
  context: TestContext,
): Promise<{ readonly api: FakeApi; readonly kubeconfig: string; readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'kubectl-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const authority = await openAuthority(folder);
  const api = new FakeApi(await authority.issue('kube-apiserver', [], ['127.0.0.1']));
  const port = await api.listen();
  context.after(() => api.close());
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, JSON.stringify(configOf(`https://127.0.0.1:${port}`, folder)));
  return { api, kubeconfig, folder };
}

/** A kubeconfig of a server with a token, as an object. */
export function configOf(server: string, folder: string, user: object = { token: 'secret' }) {
  return {
    'current-context': 'fake',
    contexts: [
      { name: 'fake', context: { cluster: 'fake', user: 'u', namespace: 'eval' } },
      { name: 'other', context: { cluster: 'gone', user: 'u' } },
    ],
    clusters: [{ name: 'fake', cluster: { server, 'certificate-authority': join(folder, 'ca.crt') } }],
    users: [{ name: 'u', user }],
  };
}
