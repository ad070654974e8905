import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { Cluster } from '../../cluster/cluster.ts';
import { openAuthority } from '../../cluster/control-plane/pki.ts';

/** What is sent: a method, a path with its query, an object, and for a PATCH its kind (merge unless told). */
export type Call = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly body?: object;
  readonly patch?: 'merge-patch+json' | 'strategic-merge-patch+json' | 'apply-patch+yaml' | 'json-patch+json';
};

/** What came back: the status code, the server's message when it refused, and the texts of its Warning headers. */
export type Answer = {
  readonly code: number;
  readonly message: string;
  readonly warnings: readonly string[];
  readonly body: unknown;
};

/** A person or program that talks to the API server with its own credential, and with nothing else. */
export type ApiUser = (call: Call) => Promise<Answer>;

/** A user whom the cluster's authority knows by a client certificate: `name` (CN), `groups` (O). */
export async function certificateUser(
  cluster: Cluster,
  name: string,
  groups: readonly string[] = [],
): Promise<ApiUser> {
  const { cert, key } = await (await openAuthority(join(cluster.dir, 'pki'))).issue(name, groups);
  return userWith(cluster, { cert, key });
}

/** A service account, by a token that the API server made for it; bound to a pod as the kubelet's tokens are, if one is named. */
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

/** A user whose connections are kept, since a handshake takes longer than an answer. */
async function userWith(
  cluster: Cluster,
  credential: { readonly cert?: string; readonly key?: string },
  headers: Readonly<Record<string, string>> = {},
): Promise<ApiUser> {
  const ca = await readFile(join(cluster.dir, 'pki/ca.crt'), 'utf8');
  const dispatcher = new Agent({ connect: { ca, ...credential } });
  return async ({ method, path, body, patch = 'merge-patch+json' }) => {
    const type = method === 'PATCH' ? patch : 'json';
    const answer = await request(`https://127.0.0.1:${cluster.port}${path}`, {
      method,
      dispatcher,
      headers: { 'content-type': `application/${type}`, ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const said = (await answer.body.json()) as { readonly message?: string };
    const message = answer.statusCode < 300 ? '' : (said.message ?? '');
    return { code: answer.statusCode, message, warnings: warningsOf(answer.headers.warning), body: said };
  };
}

/** The texts of Warning headers, `299 - "text"` each (RFC 7234, 5.5). */
function warningsOf(header: string | string[] | undefined): string[] {
  return [header ?? []]
    .flat()
    .map((line) => /^299 - "(.*)"$/.exec(line)?.[1]?.replaceAll('\\"', '"') ?? line);
}
