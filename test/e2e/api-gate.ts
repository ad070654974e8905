import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Cluster } from '../../cluster/cluster.ts';

/** An action on the first request with this method and path. */
type Hook = { readonly method: string; readonly path: RegExp; readonly act: () => Promise<unknown> };

/**
 * A proxy in front of the real API server. It forwards every request with its credentials, records it, and runs actions
 * before or after chosen requests.
 */
export class ApiGate {
  /** Forwarded requests, oldest first, as "POST /api/v1/... 201". */
  readonly passed: string[] = [];
  readonly #before: Hook[] = [];
  readonly #after: Hook[] = [];
  readonly #acts: Promise<unknown>[] = [];
  readonly #server = createServer((request, response) => void this.#forward(request, response));
  readonly #upstream: { readonly host: string; readonly port: number; readonly ca: string };

  constructor(cluster: Cluster) {
    const kubeconfig = readFileSync(cluster.kubeconfig, 'utf8');
    const ca = /certificate-authority-data"?: "?([A-Za-z0-9+/=]+)/.exec(kubeconfig)?.[1] ?? '';
    this.#upstream = {
      host: '127.0.0.1',
      port: cluster.port ?? 0,
      ca: Buffer.from(ca, 'base64').toString(),
    };
  }

  /** Listens on a free loopback port and returns the URL. */
  async open(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Delays the first such request until `act` has ended. */
  before(method: string, path: RegExp, act: Hook['act']): void {
    this.#before.push({ method, path, act });
  }

  /** Runs `act` after the response to the first such request. */
  after(method: string, path: RegExp, act: Hook['act']): void {
    this.#after.push({ method, path, act });
  }

  /** Waits for the actions of {@link after}, rethrows their errors, and closes the proxy. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await Promise.all(this.#acts);
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await take(this.#before, request)?.act();
      const onward = httpsRequest({
        ...this.#upstream,
        method: request.method,
        path: request.url,
        headers: { ...request.headers, host: `${this.#upstream.host}:${this.#upstream.port}` },
      });
      request.pipe(onward);
      response.on('close', () => onward.destroy());
      const [upstream] = (await once(onward, 'response')) as [IncomingMessage];
      this.passed.push(`${request.method} ${request.url} ${upstream.statusCode}`);
      response.writeHead(upstream.statusCode ?? 502, upstream.headers);
      upstream.pipe(response);
      upstream.on('error', () => response.destroy());
      const then = take(this.#after, request);
      if (then !== undefined) {
        const act = once(response, 'finish').then(() => then.act());
        act.catch(() => {}); // thrown by close()
        this.#acts.push(act);
      }
    } catch (error) {
      this.passed.push(`${request.method} ${request.url} ${error}`);
      response.destroy();
    }
  }
}

function take(hooks: Hook[], { method, url = '' }: IncomingMessage): Hook | undefined {
  const at = hooks.findIndex((hook) => hook.method === method && hook.path.test(url));
  return at === -1 ? undefined : hooks.splice(at, 1)[0];
}
