import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { inClusterKube, type Kube } from '../../agent/kube.ts';
import { openAuthority } from '../../hack/cluster/pki.ts';

export type Condition = Readonly<Record<string, string>>;
type Node = {
  metadata: { labels: Record<string, string> };
  status: { conditions: Condition[] };
};
type Patch = {
  metadata?: { labels?: Record<string, string | null> };
  status?: { conditions?: Condition[] };
};

/** An answer other than that of a healthy server. */
export type Answer = {
  readonly status: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** An HTTPS server with one Node that takes the patches of an agent as the API server does. */
export class FakeApiServer {
  readonly node: Node = { metadata: { labels: {} }, status: { conditions: [] } };
  /** What was asked, as "PATCH /path type". */
  readonly asked: string[] = [];
  readonly tokens: string[] = [];
  readonly bodies: Patch[] = [];
  /** Answers for the next requests, the first first; what is not scripted is answered well. */
  readonly script: Answer[] = [];
  readonly #server: Server;

  constructor(credential: { readonly cert: string; readonly key: string }) {
    this.#server = createServer(credential, async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const type = request.headers['content-type'] ?? '';
      this.asked.push(`${request.method} ${request.url} ${type}`.trim());
      this.tokens.push(request.headers.authorization ?? '');
      const scripted = this.script.shift();
      const text = Buffer.concat(chunks).toString('utf8');
      if (text !== '') this.bodies.push(JSON.parse(text) as Patch);
      if (scripted === undefined && text !== '') this.#apply(JSON.parse(text) as Patch);
      const { status = 200, body = JSON.stringify(this.node), headers = {} } = scripted ?? {};
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
    });
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return String((this.#server.address() as AddressInfo).port);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #apply({ metadata, status }: Patch): void {
    for (const [key, value] of Object.entries(metadata?.labels ?? {})) {
      if (value === null) delete this.node.metadata.labels[key];
      else this.node.metadata.labels[key] = value;
    }
    for (const condition of status?.conditions ?? []) {
      const others = this.node.status.conditions.filter(({ type }) => type !== condition.type);
      this.node.status.conditions = [...others, condition];
    }
  }
}

/** What the API server says when it refuses. */
export function refusal(status: number, message: string, headers: Answer['headers'] = {}): Answer {
  return {
    status,
    headers,
    body: JSON.stringify({ kind: 'Status', status: 'Failure', message, code: status }),
  };
}

/** A running fake, a client of it, and the folder of its service account. */
export async function fakeApiServer(context: TestContext): Promise<{
  readonly server: FakeApiServer;
  readonly kube: Kube;
  readonly folder: string;
  readonly counted: string[];
  readonly port: string;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'service-account-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const authority = await openAuthority(folder);
  await writeFile(join(folder, 'token'), 'first-token\n');
  const server = new FakeApiServer(await authority.issue('kube-apiserver', [], ['127.0.0.1']));
  const port = await server.listen();
  context.after(() => server.close());
  const counted: string[] = [];
  const count = (verb: string, code: number) => counted.push(`${verb} ${code}`);
  const kube = await inClusterKube({ host: '127.0.0.1', port }, count, folder);
  return { server, kube, folder, counted, port };
}
