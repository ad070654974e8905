import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { errorLine } from '../../lib/base/sanitize.ts';

/** The kubeconfig and its context; by default kubectl's. */
export type KubeconfigChoice = { readonly kubeconfig?: string; readonly context?: string };

export type KubeconfigAccess = Readonly<ReturnType<typeof loadKubeconfig>>;

/**
 * Some credential plugins require it. Source:
 * https://kubernetes.io/docs/reference/access-authn-authz/authentication/#input-and-output-formats
 */
const EXEC_INFO = JSON.stringify({
  apiVersion: 'client.authentication.k8s.io/v1',
  kind: 'ExecCredential',
  spec: { interactive: false },
});

/** As kubectl would; throws a one-line error if it cannot be used. */
export function loadKubeconfig({ kubeconfig, context }: KubeconfigChoice, env: NodeJS.ProcessEnv) {
  const config = load(kubeconfig);
  if (context !== undefined) config.setCurrentContext(context);
  const name = config.getCurrentContext();
  const found = name ? config.getContextObject(name) : null;
  if (found === null) throw new Error(noContext(name, config));
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new Error(
      `The context "${name}" names the cluster "${found.cluster}", which the kubeconfig does not have`,
    );
  if (config.getCurrentUser() === null && found.user)
    throw new Error(
      `The context "${name}" names the user "${found.user}", which the kubeconfig does not have`,
    );
  return {
    context: name,
    server: cluster.server,
    namespace: found.namespace || 'default',
    /** Certificates, headers and proxy; runs an `exec` credential plugin if the user has one. */
    connection: async () => {
      env.KUBERNETES_EXEC_INFO ??= EXEC_INFO;
      const options: RequestOptions = {};
      try {
        await config.applyToHTTPSOptions(options);
      } catch (error) {
        throw new Error(`Cannot use the credential of the context "${name}": ${errorLine(error)}`);
      }
      return options;
    },
  };
}

/** Names of the contexts to choose from. */
export function contextsOf({ kubeconfig }: KubeconfigChoice): readonly string[] {
  return load(kubeconfig)
    .getContexts()
    .map(({ name }) => name);
}

function load(kubeconfig: string | undefined): KubeConfig {
  const config = new KubeConfig();
  try {
    if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
    else config.loadFromDefault(undefined, true);
  } catch (error) {
    const file = kubeconfig ?? 'of KUBECONFIG or ~/.kube/config';
    throw new Error(`Cannot read the kubeconfig ${file}: ${errorLine(error)}`);
  }
  // The client's fallback without a file or a service account.
  if (config.getCurrentCluster()?.server === 'http://localhost:8080')
    throw new Error('There is no kubeconfig: name one with --kubeconfig or KUBECONFIG');
  return config;
}

function noContext(name: string | undefined, config: KubeConfig): string {
  const names = config.getContexts().map((each) => each.name);
  const contexts = names.length === 0 ? 'it has no contexts' : `its contexts: ${names.join(', ')}`;
  if (!name) return `The kubeconfig has no current context; name one with --context; ${contexts}`;
  return `The kubeconfig has no context "${name}"; ${contexts}`;
}
