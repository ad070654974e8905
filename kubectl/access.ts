import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { errorLine } from '../agent/sanitize.ts';

/** Which kubeconfig and which context of it; the usual places and the current context unless named. */
export type AccessChoice = { readonly kubeconfig?: string; readonly context?: string };

/** How to reach an API server. */
export type Access = {
  /** The context's name, for people. */
  readonly context: string;
  /** The names of all contexts of the kubeconfig. */
  readonly contexts: readonly string[];
  readonly server: string;
  /** The namespace of the context, or "default". */
  readonly namespace: string;
  /** Certificates, headers and agent for a request; runs the `exec` credential plugin where there is one. */
  readonly connection: () => Promise<RequestOptions>;
};

/**
 * What kubectl tells a credential plugin; some insist on it.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#input-and-output-formats
 */
const EXEC_INFO = JSON.stringify({
  apiVersion: 'client.authentication.k8s.io/v1',
  kind: 'ExecCredential',
  spec: { interactive: false },
});

/** Opens the access that kubectl would use, as the official client loads it. Rejects with one line when there is none. */
export function openAccess({ kubeconfig, context }: AccessChoice, env: NodeJS.ProcessEnv): Access {
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
    contexts: config.getContexts().map((each) => each.name),
    server: cluster.server,
    namespace: found.namespace || 'default',
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

function load(kubeconfig: string | undefined): KubeConfig {
  const config = new KubeConfig();
  try {
    if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
    else config.loadFromDefault(undefined, true);
  } catch (error) {
    const file = kubeconfig ?? 'of KUBECONFIG or ~/.kube/config';
    throw new Error(`Cannot read the kubeconfig ${file}: ${errorLine(error)}`);
  }
  // What the client falls back to where there is neither a file nor a service account.
  if (config.getCurrentCluster()?.server === 'http://localhost:8080')
    throw new Error('There is no kubeconfig: name one with --kubeconfig or KUBECONFIG');
  return config;
}

function noContext(name: string | undefined, config: KubeConfig): string {
  const names = config.getContexts().map((each) => each.name);
  const there = names.length === 0 ? 'it has no contexts' : `its contexts: ${names.join(', ')}`;
  if (!name) return `The kubeconfig has no current context; name one with --context; ${there}`;
  return `The kubeconfig has no context "${name}"; ${there}`;
}
