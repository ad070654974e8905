import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { NAMESPACE, readToken, SERVICE_ACCOUNT } from '../kube/access.ts';
import type { KubeAccess } from '../kube/client.ts';

const POD = 'of-the-pod';

/** Uses the pod's service account without a kubeconfig. Throws if neither can be read. */
export function openConfig(kubeconfig: string | undefined, root = ''): KubeConfig {
  const config = new KubeConfig();
  if (kubeconfig === undefined) loadFromPod(config, root);
  else config.loadFromFile(kubeconfig);
  if (config.getCurrentCluster() === null)
    throw new Error(
      `kubeconfig "${kubeconfig}" has no current context: set one with \`kubectl config use-context\``,
    );
  return config;
}

/** That of the controller's pod; the default one outside of a pod. */
export function namespaceOf(config: KubeConfig): string {
  const isPod = config.getCurrentUser()?.authProvider?.name === POD;
  return (isPod && config.getContextObject(config.getCurrentContext())?.namespace) || NAMESPACE;
}

/**
 * The client caches a token by the wall clock, which may be set back for hours; here each request reads it.
 */
function loadFromPod(config: KubeConfig, root: string): void {
  config.loadFromCluster(root);
  config.users = config.users.map(({ name }) => ({ name, authProvider: { name: POD, config: {} } }));
  config.addAuthenticator({
    isAuthProvider: ({ authProvider }) => authProvider?.name === POD,
    async applyAuthentication(_, options) {
      const token = await readToken(`${root}${SERVICE_ACCOUNT}`);
      options.headers = { ...options.headers, Authorization: `Bearer ${token}` };
    },
  });
}

/** For single requests, with the credential and the CA of the moment. */
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
