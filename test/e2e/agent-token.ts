import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { Cluster } from '../../cluster/cluster.ts';

/** A token of the agent's service account as the kubelet gives it to the pod on a node: bound to that pod. */
export async function tokenOf(cluster: Cluster, node: string): Promise<string> {
  const path = 'jsonpath={.items[0].metadata.name} {.items[0].metadata.uid}';
  const words = [
    'get',
    'pods',
    '-n',
    'gvisor-ready',
    '--field-selector',
    `spec.nodeName=${node}`,
    '-o',
    path,
  ];
  const [name = '', uid = ''] = (await cluster.kubectl(words)).split(' ');
  const bound = ['--bound-object-kind=Pod', `--bound-object-name=${name}`, `--bound-object-uid=${uid}`];
  return (
    await cluster.kubectl(['create', 'token', '-n', 'gvisor-ready', 'gvisor-ready-agent', ...bound])
  ).trim();
}

/** A patch of a Node, or of its status. */
export type Patch = { readonly node: string; readonly patch: object; readonly status?: true };
type Sent = {
  readonly method: 'PATCH' | 'POST' | 'DELETE';
  readonly path: string;
  readonly type: string;
  readonly body?: object;
};

/** Patches a node with a token and nothing else; gives the API server's refusal, or "" when it was accepted. */
export function write(cluster: Cluster, token: string, { node, patch, status }: Patch): Promise<string> {
  const type = status === undefined ? 'merge-patch+json' : 'strategic-merge-patch+json';
  const path = `/api/v1/nodes/${node}${status === undefined ? '' : '/status'}`;
  return send(cluster, token, { method: 'PATCH', path, type, body: patch });
}

/** Sends one request with a token and nothing else; gives the refusal, or "" when it was accepted. */
export async function send(
  cluster: Cluster,
  token: string,
  { method, path, type, body: sent }: Sent,
): Promise<string> {
  const ca = await readFile(join(cluster.dir, 'pki/ca.crt'), 'utf8');
  const dispatcher = new Agent({ connect: { ca } });
  const { statusCode, body } = await request(`https://127.0.0.1:${cluster.port}${path}`, {
    method,
    dispatcher,
    headers: { authorization: `Bearer ${token}`, 'content-type': `application/${type}` },
    ...(sent === undefined ? {} : { body: JSON.stringify(sent) }),
  });
  const answer = (await body.json()) as { readonly message?: string };
  await dispatcher.close();
  return statusCode < 300 ? '' : `${statusCode} ${answer.message}`;
}
