import { readFile } from 'node:fs/promises';
import type { KubeAccess } from './client.ts';

/** Where the agents run, as manifests/base has it. */
export const NAMESPACE = 'gvisor-ready';

/** The DaemonSet of the agents. */
export const DAEMON_SET = 'gvisor-ready-agent';

/** What selects the agents' pods. */
export const AGENT_SELECTOR = 'app.kubernetes.io/name=gvisor-ready,app.kubernetes.io/component=agent';

/** The port that agents listen on unless told. */
export const AGENT_PORT = 9477;

/** Where a pod finds its credential, each part a file. */
export const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The API server of the cluster that this pod runs in. Token and CA are read anew for each request,
 * since the kubelet replaces both. Rejects when there is no CA.
 * Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
 * and https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/
 */
export async function inClusterAccess(
  address: { readonly host: string; readonly port: string },
  serviceAccount = SERVICE_ACCOUNT,
): Promise<KubeAccess> {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  const readCa = () => readFile(`${serviceAccount}/ca.crt`, 'utf8');
  await readCa();
  return {
    server: `https://${host}:${address.port}`,
    readCa,
    token: () => readToken(serviceAccount),
  };
}

/** The token of the moment. */
export async function readToken(serviceAccount = SERVICE_ACCOUNT): Promise<string> {
  return (await readFile(`${serviceAccount}/token`, 'utf8')).trim();
}
