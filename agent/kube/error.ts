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

/** Any proxy on the way may ask for patience; for a withdrawal it gets no more than the agent's own longest pause. */
const MAX_RETRY_AFTER_MS = 30_000;

/** The error for an answer of the API server: what was asked, its code and words, and what to do about a 403. */
export function kubeRefusal(
  asked: string,
  code: number,
  answer: { readonly body?: unknown; readonly retryAfter?: string | string[] | undefined },
): KubeError {
  const words = (answer.body as { message?: string } | undefined)?.message ?? 'no message';
  const advice = code === 403 ? missingRule(words) : '';
  return new KubeError(`${asked}: ${code} ${words}${advice}`, code, retryAfterMs(answer.retryAfter));
}

/**
 * The rule that RBAC misses, in kubectl's words; "" when somebody else refused, such as an admission policy.
 * Source: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go, `forbiddenMessage`
 */
function missingRule(words: string): string {
  const pattern =
    /User "([^"]+)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/;
  const [, user, verb, resource, group, namespace] = pattern.exec(words) ?? [];
  if (user === undefined) return '';
  const what = group === '' ? resource : `${resource}.${group}`;
  const where = namespace === undefined ? '' : ` --namespace=${namespace}`;
  return `; add a rule with verb "${verb}" on "${what}" to its role, then: kubectl auth can-i ${verb} ${what}${where} --as=${user}`;
}

/** Milliseconds of a Retry-After header in seconds; its form as a date is not used by the API server. */
function retryAfterMs(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || !/^\d+$/.test(header)) return undefined;
  return Math.min(Number(header) * 1_000, MAX_RETRY_AFTER_MS);
}
