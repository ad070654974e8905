import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';

/** A request that the API server refused; `status` is the HTTP code, `message` its own words. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  readonly status: number;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, status: number, retryAfterMs?: number) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The API server, as far as this agent needs it. Every request has a deadline of 10 s. */
export type Kube = {
  get(path: string, signal?: AbortSignal): Promise<unknown>;
  /** `kind` names the patch format: a JSON merge patch or Kubernetes' strategic merge patch. */
  patch(path: string, body: unknown, kind: 'merge' | 'strategic', signal?: AbortSignal): Promise<unknown>;
};

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** A server may ask for patience, but not for more than this. */
const MAX_RETRY_AFTER_MS = 300_000;

/**
 * The API server of the cluster that this pod runs in. The token is read anew for each request, since
 * the kubelet replaces it; `count` hears of every request for the metrics.
 * Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
 */
export async function inClusterKube(
  address: { readonly host: string; readonly port: string },
  count: (verb: string, code: number) => void,
  serviceAccount = SERVICE_ACCOUNT,
): Promise<Kube> {
  const ca = await readFile(`${serviceAccount}/ca.crt`, 'utf8');
  const dispatcher = new Agent({
    connect: { ca, timeout: 5_000 },
    connections: 1,
    headersTimeout: 10_000,
    bodyTimeout: 10_000,
  });
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  const send = async (
    method: 'GET' | 'PATCH',
    path: string,
    signal: AbortSignal | undefined,
    patch?: { body: unknown; type: string },
  ) => {
    const token = (await readFile(`${serviceAccount}/token`, 'utf8')).trim();
    const deadline = AbortSignal.timeout(10_000);
    const response = await request(`https://${host}:${address.port}${path}`, {
      method,
      dispatcher,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(patch === undefined ? {} : { 'content-type': patch.type }),
      },
      body: patch === undefined ? null : JSON.stringify(patch.body),
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    });
    count(method, response.statusCode);
    const body: unknown = await response.body.json().catch(() => undefined);
    if (response.statusCode < 300) return body;
    const words = (body as { message?: string } | undefined)?.message ?? 'no message';
    throw new KubeError(
      `${method} ${path}: ${response.statusCode} ${words}`,
      response.statusCode,
      retryAfterMs(response.headers['retry-after']),
    );
  };
  return {
    get: (path, signal) => send('GET', path, signal),
    patch: (path, body, kind, signal) => {
      const type =
        kind === 'merge' ? 'application/merge-patch+json' : 'application/strategic-merge-patch+json';
      return send('PATCH', path, signal, { body, type });
    },
  };
}

/** Milliseconds of a Retry-After header in seconds; its form as a date is not used by the API server. */
function retryAfterMs(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || !/^\d+$/.test(header)) return undefined;
  return Math.min(Number(header) * 1_000, MAX_RETRY_AFTER_MS);
}
