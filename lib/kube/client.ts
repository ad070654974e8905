import { type ConnectionOptions, createSecureContext } from 'node:tls';
import type { Logger } from 'pino';
import type { Dispatcher } from 'undici';
import request from 'undici/lib/api/api-request.js';
import Agent from 'undici/lib/dispatcher/agent.js';
import { kubeRefusal } from './error.ts';

/** A Node is some tens of KiB; etcd limits objects to a few MiB. */
const MAX_LINE = 8 * 2 ** 20;

/** Throws on an invalid or endless line. */
export async function* jsonLines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE) throw new Error(`A line of a watch is longer than ${MAX_LINE} characters`);
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as unknown;
  }
}

/** Certificates and keys are PEM. */
export type KubeAccess = {
  /** URL without a trailing slash. */
  readonly server: string;
  readonly tls?: Pick<ConnectionOptions, 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** Without it Node's own are trusted. */
  readonly readCa?: () => Promise<string>;
  /** Absent with a client certificate. */
  readonly token?: () => Promise<string>;
};

/** The API server sends a bookmark about once a minute: a longer silence is a dead connection. */
const IDLE_TIMEOUT_MS = 150_000;

/** `short` for requests, `long` for watches. */
type Agents = { readonly ca: string | undefined; readonly short: Agent; readonly long: Agent };

/**
 * Connections to the API server. A replaced CA takes effect with the next connection; older ones continue until they end.
 * `watchTimeoutMs` limits the wait for the response headers of a watch.
 */
function openConnections({ tls, readCa }: KubeAccess, watchTimeoutMs: number) {
  /** Destroyed at the end: destroy() after undici's close() would end nothing. */
  const made: Agent[] = [];
  let agents: Agents | undefined;
  return {
    async current(): Promise<Agents> {
      const ca = await readCa?.();
      if (agents !== undefined && agents.ca === ca) return agents;
      // Once for all connections: it parses the CA.
      const secureContext = createSecureContext({ ...tls, ca });
      const connect = { ...tls, secureContext, timeout: 5_000 };
      // Three, so that a hanging event or list does not block writes to the Node.
      const short = new Agent({ connect, connections: 3 });
      const long = new Agent({ connect, headersTimeout: watchTimeoutMs, bodyTimeout: IDLE_TIMEOUT_MS });
      made.push(short, long);
      agents = { ca, short, long };
      return agents;
    },
    /** Ends those in use, too. */
    async close(): Promise<void> {
      await Promise.all(made.map((agent) => agent.destroy()));
    },
  };
}

export type WatchEvent = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: unknown;
};

/**
 * Paths begin with a slash and may have a query. A request times out after 20 s; a refused one rejects with a {@link
 * import('./error.ts').KubeError}.
 */
export type Kube = ReturnType<typeof createKube>;

/** `namespace` is that of the installation. */
export type ApiAccess = { readonly kube: Kube; readonly namespace: string; readonly log: Logger };

/** Called for each response, and for each request without one. */
export type CountRequest = (verb: string, code: number | '<error>') => void;

type Request = {
  readonly method: 'GET' | 'PATCH' | 'POST';
  readonly path: string;
  readonly signal: AbortSignal | undefined;
  readonly body?: unknown;
  readonly type?: string;
  /** Set for a watch. */
  readonly watch?: Watch;
};

type Watch = { readonly whole: boolean; readonly onOpen?: () => void };

/** The API server leaves a request in a queue for up to 15 s: who gives up earlier sends it again, over a new connection. */
const TIMEOUT_MS = 20_000;
const WATCH_TIMEOUT_MS = 30_000;
/**
 * A watch of metadata only. Source:
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables and
 * staging/src/k8s.io/apiserver/pkg/endpoints/handlers/response.go
 */
const METADATA = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

export type KubeOptions = {
  /** The server uses the part before the slash as field manager. */
  readonly agent: string;
  readonly count: CountRequest;
  readonly watchTimeoutMs?: number;
};

export function createKube(
  access: KubeAccess,
  { agent, count, watchTimeoutMs = WATCH_TIMEOUT_MS }: KubeOptions,
) {
  const connections = openConnections(access, watchTimeoutMs);

  const send = async (
    asked: Request,
    mayRetry = access.token !== undefined,
  ): Promise<Dispatcher.ResponseData['body']> => {
    const { method, path, watch } = asked;
    const token = await access.token?.();
    const { short, long } = await connections.current();
    const timeout = watch ? [] : [AbortSignal.timeout(TIMEOUT_MS)];
    const signals = asked.signal === undefined ? timeout : [asked.signal, ...timeout];
    const { origin, pathname, search } = new URL(`${access.server}${path}`);
    const verb = watch ? 'WATCH' : method;
    const sent = request.call(watch ? long : short, {
      origin,
      path: `${pathname}${search}`,
      method,
      headers: {
        'user-agent': agent,
        accept: watch?.whole === false ? METADATA : 'application/json',
        authorization: token && `Bearer ${token}`,
        'content-type': asked.type,
      },
      body: asked.body === undefined ? null : JSON.stringify(asked.body),
      signal: AbortSignal.any(signals),
    });
    const { statusCode, headers, body } = await sent.catch((error: unknown) => {
      if (!asked.signal?.aborted) count(verb, '<error>');
      throw error;
    });
    count(verb, statusCode);
    if (statusCode < 300) return body;
    if (statusCode === 401 && mayRetry) {
      // The token may have been replaced meanwhile, so it is read again.
      await body.dump();
      return send(asked, false);
    }
    throw kubeRefusal(`${method} ${path}`, statusCode, {
      body: await body.json().catch(() => undefined),
      retryAfter: headers['retry-after'],
    });
  };
  const json = async (asked: Request): Promise<unknown> => (await send(asked)).json();

  return {
    get: (path: string, signal?: AbortSignal) => json({ method: 'GET', path, signal }),
    /** A JSON merge patch, or Kubernetes' strategic one. */
    patch: (path: string, body: unknown, kind: 'merge' | 'strategic', signal?: AbortSignal) => {
      const type = `application/${kind === 'merge' ? 'merge-patch' : 'strategic-merge-patch'}+json`;
      return json({ method: 'PATCH', path, signal, body, type });
    },
    post: (path: string, body: unknown, signal?: AbortSignal) =>
      json({ method: 'POST', path, signal, body, type: 'application/json' }),
    /**
     * The events of a path with `watch=1`, until the server ends it after `timeoutSeconds`. Metadata only unless
     * `whole` is set. Rejects when it is refused, also midway: 410 requires a new watch.
     */
    async *watch(
      path: string,
      signal: AbortSignal,
      watch: Watch = { whole: false },
    ): AsyncGenerator<WatchEvent> {
      const body = await send({ method: 'GET', path, signal, watch });
      watch.onOpen?.();
      for await (const line of jsonLines(body)) {
        const { type, object } = line as { type: string; object: unknown };
        if (type === 'ERROR') {
          throw kubeRefusal(`GET ${path}`, (object as { code?: number }).code ?? 500, { body: object });
        }
        yield { type, object } as WatchEvent;
      }
    },
    close: () => connections.close(),
  };
}
