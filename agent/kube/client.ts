import type { ConnectionOptions } from 'node:tls';
import type { Dispatcher } from 'undici';
import request from 'undici/lib/api/api-request.js';
import Agent from 'undici/lib/dispatcher/agent.js';
import { kubeRefusal } from './error.ts';

/** A Node with its managed fields is some tens of KiB; no object of the API is larger than a few MiB. */
const LONGEST = 8 * 2 ** 20;

/** The JSON values of a stream that has one a line. Throws on a line that is none, or that does not end. */
export async function* jsonLines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LONGEST) throw new Error(`A line of a watch is longer than ${LONGEST} characters`);
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as unknown;
  }
}

/** How to reach an API server and prove who one is. Certificates and keys are PEM. */
export type KubeAccess = {
  /** URL without a slash at its end. */
  readonly server: string;
  readonly tls?: Pick<ConnectionOptions, 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
  /** The CA of the moment; without it those that Node.js trusts. */
  readonly readCa?: () => Promise<string>;
  /** The bearer token of the moment; absent where a certificate is the credential. */
  readonly token?: () => Promise<string>;
};

/** A kubelet reports every 5 minutes when nothing changes, so a watch of a Node is not silent for longer. */
const SILENCE_MS = 900_000;

type Agents = { readonly ca: string | undefined; readonly short: Agent; readonly long: Agent };

/**
 * The connections to the API server. A CA that was replaced takes effect with the next connection; requests and
 * watches on older connections go on to their end.
 */
export class KubeConnections {
  readonly #access: KubeAccess;
  readonly #answerMs: number;
  /**
   * All agents, the replaced ones too. An idle connection ends by itself within seconds, and one with a watch ends
   * with the watch. undici's close() is of no use here: destroy() after it ends nothing.
   */
  readonly #made: Agent[] = [];
  #agents: Agents | undefined;

  /** A watch is given up when its answer does not begin within `answerMs` milliseconds. */
  constructor(access: KubeAccess, answerMs: number) {
    this.#access = access;
    this.#answerMs = answerMs;
  }

  /** Reads the CA, and gives the connections that trust it: for short requests, and for watches, which hold theirs. */
  async current(): Promise<Omit<Agents, 'ca'>> {
    const ca = await this.#access.readCa?.();
    if (this.#agents === undefined || this.#agents.ca !== ca) this.#agents = this.#make(ca);
    return this.#agents;
  }

  /** Ends all connections, also those in use. */
  async close(): Promise<void> {
    await Promise.all(this.#made.map((agent) => agent.destroy()));
  }

  #make(ca: string | undefined): Agents {
    const connect = { ...this.#access.tls, ...(ca === undefined ? {} : { ca }), timeout: 5_000 };
    // Three ask at a time: an event or a list that hangs must not hold up what is written to the Node.
    const short = new Agent({ connect, connections: 3 });
    const long = new Agent({ connect, headersTimeout: this.#answerMs, bodyTimeout: SILENCE_MS });
    this.#made.push(short, long);
    return { ca, short, long };
  }
}

/** One line of a watch: an object as it came, changed or went, a bookmark, or a refusal. */
export type WatchEvent = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: unknown;
};

/**
 * The API server, as far as this agent needs it. Paths begin with a slash and may carry a query. A request
 * has a deadline of 10 s; one that is refused rejects with a {@link import('./error.ts').KubeError}.
 */
export type Kube = ReturnType<typeof createKube>;

/** Hears of every request that was answered. */
export type CountRequest = (verb: string, code: number) => void;

type Asked = {
  readonly method: 'GET' | 'PATCH' | 'POST';
  readonly path: string;
  readonly signal: AbortSignal | undefined;
  readonly body?: unknown;
  readonly type?: string;
  readonly watched?: true;
};

const TIMEOUT_MS = 10_000;
/** The API server answers a watch at once, or after the 15 s that it lets a request wait in a queue. */
const ANSWER_MS = 30_000;
/**
 * What a watch tells of objects: their metadata.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
 * and staging/src/k8s.io/apiserver/pkg/endpoints/handlers/response.go
 */
const METADATA = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

/** Who asks, and who hears of it. */
export type KubeOptions = {
  /** The user agent; the server takes the name before the slash for the field manager. */
  readonly agent: string;
  readonly count: CountRequest;
  /** How long a watch may wait for the head of its answer, milliseconds. */
  readonly answerMs?: number;
};

/** A client of the API server. */
export function createKube(access: KubeAccess, { agent, count, answerMs = ANSWER_MS }: KubeOptions) {
  const connections = new KubeConnections(access, answerMs);

  const send = async (
    asked: Asked,
    mayRetry = access.token !== undefined,
  ): Promise<Dispatcher.ResponseData['body']> => {
    const token = await access.token?.();
    const { short, long } = await connections.current();
    const deadline = asked.watched ? [] : [AbortSignal.timeout(TIMEOUT_MS)];
    const signals = asked.signal === undefined ? deadline : [asked.signal, ...deadline];
    const { origin, pathname, search } = new URL(`${access.server}${asked.path}`);
    const { statusCode, headers, body } = await request.call(asked.watched ? long : short, {
      origin,
      path: `${pathname}${search}`,
      method: asked.method,
      headers: {
        'user-agent': agent,
        accept: asked.watched ? METADATA : 'application/json',
        authorization: token && `Bearer ${token}`,
        'content-type': asked.type,
      },
      body: asked.body === undefined ? null : JSON.stringify(asked.body),
      signal: AbortSignal.any(signals),
    });
    count(asked.watched ? 'WATCH' : asked.method, statusCode);
    if (statusCode < 300) return body;
    if (statusCode === 401 && mayRetry) {
      // The token was replaced while this request was on its way: it is read anew for the next.
      await body.dump();
      return send(asked, false);
    }
    throw kubeRefusal(`${asked.method} ${asked.path}`, statusCode, {
      body: await body.json().catch(() => undefined),
      retryAfter: headers['retry-after'],
    });
  };
  const json = async (asked: Asked): Promise<unknown> => (await send(asked)).json();

  return {
    get: (path: string, signal?: AbortSignal) => json({ method: 'GET', path, signal }),
    /** `kind` names the patch format: a JSON merge patch or Kubernetes' strategic merge patch. */
    patch: (path: string, body: unknown, kind: 'merge' | 'strategic', signal?: AbortSignal) => {
      const type = `application/${kind === 'merge' ? 'merge-patch' : 'strategic-merge-patch'}+json`;
      return json({ method: 'PATCH', path, signal, body, type });
    },
    post: (path: string, body: unknown, signal?: AbortSignal) =>
      json({ method: 'POST', path, signal, body, type: 'application/json' }),
    /**
     * What a path with `watch=1` tells, of each object its metadata alone, until the server ends it (as it does after
     * `timeoutSeconds`) or nothing was heard for 15 minutes. Rejects when it is refused, also in the middle: 410 asks for
     * a new one.
     */
    async *watch(path: string, signal: AbortSignal): AsyncGenerator<WatchEvent> {
      for await (const line of jsonLines(await send({ method: 'GET', path, signal, watched: true }))) {
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
