/** `status` is the HTTP code, `message` contains the server's text. */
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

/** Any proxy may set Retry-After, and a withdrawal must not wait longer. */
const MAX_RETRY_AFTER_MS = 30_000;

/** RBAC's message names who may not do what. */
export function kubeRefusal(
  asked: string,
  code: number,
  response: { readonly body?: unknown; readonly retryAfter?: string | string[] | undefined },
): KubeError {
  const text = (response.body as { message?: string } | undefined)?.message ?? 'no message';
  return new KubeError(`${asked}: ${code} ${text}`, code, retryAfterMs(response.retryAfter));
}

/** Milliseconds; the API server never sends the date form. */
function retryAfterMs(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || !/^\d+$/.test(header)) return undefined;
  return Math.min(Number(header) * 1_000, MAX_RETRY_AFTER_MS);
}
