import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../cluster.ts';
import { SERVICE_ADDRESS } from './control-plane.ts';

/** Client libraries hard-code the path. */
const IN_CLUSTER = '/run/secrets/kubernetes.io/serviceaccount'; // /var/run is a link to /run

/**
 * Gives a program in the control plane's namespaces the credentials of a service account for 24 hours. Returns its
 * environment.
 */
export async function actAsServiceAccount(
  cluster: Cluster,
  namespace: string,
  name: string,
): Promise<Readonly<Record<string, string>>> {
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } };
  const room = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
  await cluster.kubectl(
    ['apply', '-f', '-'],
    [room, account].map((each) => JSON.stringify(each)).join('\n---\n'),
  );
  const token = await cluster.kubectl(['create', 'token', name, '-n', namespace, '--duration=24h']);
  const directory = cluster.controlPlane.path(IN_CLUSTER);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'token'), token.trim(), { mode: 0o600 });
  await copyFile(join(cluster.dir, 'pki/ca.crt'), join(directory, 'ca.crt'));
  await writeFile(join(directory, 'namespace'), namespace);
  return { KUBERNETES_SERVICE_HOST: SERVICE_ADDRESS, KUBERNETES_SERVICE_PORT: '443' };
}
