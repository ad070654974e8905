import { readFile } from 'node:fs/promises';
import type { KubeAccess } from './client.ts';

/** The namespace of manifests/base. */
export const NAMESPACE = 'gvisor-ready';

export const DAEMON_SET = 'gvisor-ready-agent';

export const AGENT_SELECTOR = 'app.kubernetes.io/name=gvisor-ready,app.kubernetes.io/component=agent';

export const AGENT_PORT = 9477;

export const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Token and CA are read for each request, because both are rotated. Rejects if there is no CA. Source:
 * https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/ and
 * https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/
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
    token: async () => (await readFile(`${serviceAccount}/token`, 'utf8')).trim(),
  };
}
