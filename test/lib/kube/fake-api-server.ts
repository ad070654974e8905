import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { openAuthority } from '../../../cluster/control-plane/pki.ts';
import { inClusterAccess } from '../../../lib/kube/access.ts';
import { createKube, type Kube } from '../../../lib/kube/client.ts';
import { FakeNode, type NodePatch } from '../../agent/fake-node-object.ts';

export type ScriptedResponse = {
  readonly status: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** An HTTPS server with one Node that handles patches and watches like the API server. */
export class FakeApiServer {
  readonly node = new FakeNode();
  /** Requests as "PATCH /path content-type"; watches are listed separately. */
  readonly requests: string[] = [];
  readonly watched: string[] = [];
  readonly tokens: string[] = [];
  readonly accepted: string[] = [];
  readonly bodies: NodePatch[] = [];
  /** Whether admission policies refuse writes that are not the agent's. */
  guarded = true;
  /** The names of other Nodes. */
  readonly others = ['node-2'];
  /** Responses for the next requests, in order; without one a request succeeds. */
  readonly script: (ScriptedResponse | 'silence')[] = [];
  /** Responses for the next watches. */
  readonly watchScript: (ScriptedResponse | 'silence')[] = [];
  connections = 0;
  /** Open watches, and whether they are of whole objects. */
  readonly #watches = new Map<ServerResponse, boolean>();
  readonly #server: Server;

  constructor(credential: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(credential, (request, response) => {
      const watch = request.url?.includes('watch=1');
      void (watch ? this.#watch(request, response) : this.#respond(request, response));
    });
    this.#server.on('secureConnection', () => this.connections++);
    this.node.onChange = (type) => {
      for (const [response, whole] of this.#watches)
        response.write(`${JSON.stringify(this.node.event(type, whole))}\n`);
    };
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const type = request.headers['content-type'] ?? '';
    this.requests.push(`${request.method} ${request.url} ${type}`.trim());
    this.tokens.push(request.headers.authorization ?? '');
    const text = Buffer.concat(chunks).toString('utf8');
    const patch = text === '' ? undefined : (JSON.parse(text) as NodePatch);
    if (patch !== undefined) this.bodies.push(patch);
    const scripted = this.script.shift();
    if (scripted !== 'silence') send(response, scripted ?? this.#well(request, patch));
  }

  #well(request: IncomingMessage, patch: NodePatch | undefined): ScriptedResponse {
    if (request.method === 'POST') return { status: 201, body: JSON.stringify(patch) };
    if (request.url?.includes('dryRun=All') && this.guarded)
      return refusedWith(
        422,
        request.url.startsWith('/api/v1/nodes/node-1/')
          ? 'nodes "node-1" is forbidden: ValidatingAdmissionPolicy \'gvisor-ready-agent\' denied request: an agent writes only labels of'
          : 'nodes "node-2" is forbidden: ValidatingAdmissionPolicy \'gvisor-ready-agent\' denied request: an agent writes only its own Node: this token',
      );
    if (!this.node.exists) return refusedWith(404, 'nodes "node-1" not found');
    if (request.url?.includes('dryRun=All')) return { status: 200, body: JSON.stringify(this.node.whole) };
    if (patch !== undefined && !this.node.patch(patch)) {
      return refusedWith(
        409,
        'Operation cannot be fulfilled on nodes "node-1": the object has been modified',
      );
    }
    const { whole } = this.node;
    const others = this.others.map((name) => ({ metadata: { name } }));
    const body = request.url?.startsWith('/api/v1/nodes?') ? { items: [whole, ...others] } : whole;
    return { status: 200, body: JSON.stringify(body) };
  }

  async #watch(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.watched.push(request.url ?? '');
    this.accepted.push(request.headers.accept ?? '');
    const scripted = this.watchScript.shift();
    if (scripted === 'silence') return;
    if (scripted !== undefined) return send(response, scripted);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const whole = !request.headers.accept?.includes('PartialObjectMetadata');
    this.#watches.set(response, whole);
    response.on('close', () => this.#watches.delete(response));
    if (this.node.exists) response.write(`${JSON.stringify(this.node.event('ADDED', whole))}\n`);
  }

  get open(): number {
    return this.#watches.size;
  }

  /** Ends all watches, after this line. */
  endWatches(line = ''): void {
    for (const response of this.#watches.keys()) response.end(line);
    this.#watches.clear();
  }

  async listen(port = '0'): Promise<string> {
    this.#server.listen(Number(port), '127.0.0.1');
    await once(this.#server, 'listening');
    return String((this.#server.address() as AddressInfo).port);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

function send(response: ServerResponse, { status, body = '', headers = {} }: ScriptedResponse): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
}

/** A refusal by the API server. */
export function refusedWith(
  status: number,
  message: string,
  headers: ScriptedResponse['headers'] = {},
): ScriptedResponse {
  return { status, headers, body: JSON.stringify(statusObject(status, message)) };
}

/** The Status object of a refusal, which can also end a watch. */
export function statusObject(code: number, message: string): object {
  return { kind: 'Status', status: 'Failure', message, code };
}

/** A running server, a client, and the directory of its service account. */
export async function fakeApiServer(context: TestContext): Promise<{
  readonly server: FakeApiServer;
  readonly kube: Kube;
  readonly directory: string;
  readonly counted: string[];
  readonly port: string;
}> {
  const directory = await mkdtemp(join(tmpdir(), 'service-account-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const authority = await openAuthority(directory);
  await writeFile(join(directory, 'token'), 'first-token\n');
  const server = new FakeApiServer(await authority.issue('kube-apiserver', [], ['127.0.0.1']));
  const port = await server.listen();
  context.after(() => server.close());
  const counted: string[] = [];
  const count = (verb: string, code: number | string) => counted.push(`${verb} ${code}`);
  const access = await inClusterAccess({ host: '127.0.0.1', port }, directory);
  const kube = createKube(access, { agent: 'gvisor-ready/0', count });
  context.after(() => kube.close());
  return { server, kube, directory: directory, counted, port };
}
