import type { Dispatcher } from 'undici';
import request from 'undici/lib/api/api-request.js';
import type { KubeAccess } from './connections.ts';
import { KubeConnections } from './connections.ts';
import { kubeRefusal } from './error.ts';
import { jsonLines } from './lines.ts';

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
