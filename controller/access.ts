import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import type { Env } from '../lib/base/settings.ts';
import { inClusterAccess, NAMESPACE, SERVICE_ACCOUNT } from '../lib/kube/access.ts';
import type { KubeAccess } from '../lib/kube/client.ts';

/** Of a kubeconfig, else of the pod's service account, with the namespace of the installation. */
export async function openAccess(
  kubeconfig: string | undefined,
  env: Env,
  serviceAccount = SERVICE_ACCOUNT,
): Promise<{ readonly access: KubeAccess; readonly namespace: string }> {
  if (kubeconfig !== undefined)
    return { access: await accessOf(openConfig(kubeconfig)), namespace: NAMESPACE };
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' } = env;
  const access = await inClusterAccess({ host, port }, serviceAccount);
  return { access, namespace: (await readFile(`${serviceAccount}/namespace`, 'utf8')).trim() };
}

/** Throws if it cannot be read. */
export function openConfig(kubeconfig: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  if (config.getCurrentCluster() === null)
    throw new Error(
      `kubeconfig "${kubeconfig}" has no current context: set one with \`kubectl config use-context\``,
    );
  return config;
}

/** With the credential and the CA of the moment. */
export async function accessOf(config: KubeConfig): Promise<KubeAccess> {
  const { ca, cert, key, servername, rejectUnauthorized } = await optionsOf(config);
  const pem = (value: unknown) => (value === undefined ? undefined : String(value));
  const tls = { cert: pem(cert), key: pem(key), servername };
  const given = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
  const readCa = async () => String((await optionsOf(config)).ca);
  const token = async () => tokenOf(await optionsOf(config));
  const server = config.getCurrentCluster()?.server.replace(/\/+$/, '') ?? '';
  return {
    server,
    tls: { ...given, ...(rejectUnauthorized === false ? { rejectUnauthorized } : {}) },
    ...(ca === undefined ? {} : { readCa }),
    ...((await token()) === '' ? {} : { token }),
  };
}

async function optionsOf(config: KubeConfig): Promise<RequestOptions> {
  const options: RequestOptions = { headers: {} };
  await config.applyToHTTPSOptions(options);
  return options;
}

function tokenOf({ headers }: RequestOptions): string {
  const { Authorization = '' } = headers as Readonly<Record<string, string>>;
  return Authorization.replace(/^Bearer /, '').trim();
}
