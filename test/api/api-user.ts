import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { Cluster } from '../../cluster/cluster.ts';
import { openAuthority } from '../../cluster/control-plane/pki.ts';

/** A request. `patch` is the kind of a PATCH (default: merge). */
export type ApiCall = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly body?: object;
  readonly patch?: 'merge-patch+json' | 'strategic-merge-patch+json' | 'apply-patch+yaml' | 'json-patch+json';
};

/** A response: status code, message of a refusal (else ""), texts of the Warning headers, body. */
export type ApiResponse = {
  readonly code: number;
  readonly message: string;
  readonly warnings: readonly string[];
  readonly body: unknown;
};

/** Sends requests to the API server with one credential. */
export type ApiUser = (call: ApiCall) => Promise<ApiResponse>;

/** A user with a client certificate: `name` is its CN, `groups` its O. */
export async function certificateUser(
  cluster: Cluster,
  name: string,
  groups: readonly string[] = [],
): Promise<ApiUser> {
  const { cert, key } = await (await openAuthority(join(cluster.dir, 'pki'))).issue(name, groups);
  return userWith(cluster, { cert, key });
}

/** A service account with a token, which is bound to `pod` if given, like the kubelet's tokens. */
export async function tokenUser(
  cluster: Cluster,
  namespace: string,
  account: string,
  pod?: string,
): Promise<ApiUser> {
  const bound = pod === undefined ? [] : ['--bound-object-kind=Pod', `--bound-object-name=${pod}`];
  const token = (await cluster.kubectl(['create', 'token', '-n', namespace, account, ...bound])).trim();
  return userWith(cluster, {}, { authorization: `Bearer ${token}` });
}

/** Keeps connections open, because a handshake takes longer than a response. */
async function userWith(
  cluster: Cluster,
  credential: { readonly cert?: string; readonly key?: string },
  headers: Readonly<Record<string, string>> = {},
): Promise<ApiUser> {
  const ca = await readFile(join(cluster.dir, 'pki/ca.crt'), 'utf8');
  const dispatcher = new Agent({ connect: { ca, ...credential } });
  return async ({ method, path, body, patch = 'merge-patch+json' }) => {
    const type = method === 'PATCH' ? patch : 'json';
    const response = await request(`https://127.0.0.1:${cluster.port}${path}`, {
      method,
      dispatcher,
      headers: { 'content-type': `application/${type}`, ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const json = (await response.body.json()) as { readonly message?: string };
    const message = response.statusCode < 300 ? '' : (json.message ?? '');
    return { code: response.statusCode, message, warnings: warningsOf(response.headers.warning), body: json };
  };
}

/** The texts of Warning headers, `299 - "text"` each (RFC 7234, 5.5). */
function warningsOf(header: string | string[] | undefined): string[] {
  return [header ?? []]
    .flat()
    .map((line) => /^299 - "(.*)"$/.exec(line)?.[1]?.replaceAll('\\"', '"') ?? line);
}
