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

/** Request, code, message, and for a 403 of RBAC the missing rule. */
export function kubeRefusal(
  asked: string,
  code: number,
  response: { readonly body?: unknown; readonly retryAfter?: string | string[] | undefined },
): KubeError {
  const text = (response.body as { message?: string } | undefined)?.message ?? 'no message';
  const advice = code === 403 ? missingRule(text) : '';
  return new KubeError(`${asked}: ${code} ${text}${advice}`, code, retryAfterMs(response.retryAfter));
}

/**
 * A kubectl command names the rule; "" if something else refused, such as an admission policy. Source:
 * staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go, `forbiddenMessage`
 */
function missingRule(text: string): string {
  const pattern =
    /User "([^"]+)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/;
  const [, user, verb, resource, group, namespace] = pattern.exec(text) ?? [];
  if (user === undefined) return '';
  const what = group === '' ? resource : `${resource}.${group}`;
  const where = namespace === undefined ? '' : ` --namespace=${namespace}`;
  return `; add a rule with verb "${verb}" on "${what}" to its role, then: kubectl auth can-i ${verb} ${what}${where} --as=${user}`;
}

/** Milliseconds; the API server never sends the date form. */
function retryAfterMs(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || !/^\d+$/.test(header)) return undefined;
  return Math.min(Number(header) * 1_000, MAX_RETRY_AFTER_MS);
}
