import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { runAll } from '../../hack/run.ts';
import { ApiGate } from './api-gate.ts';

/** A namespace that allows the host's kernel. */
export const FREE = 'dispatcher-free';

/** How Python finds the package, and where it keeps its bytecode. */
export const PYTHON = { PYTHONPATH: join(REPO, 'dispatcher'), PYTHONPYCACHEPREFIX: join(CACHE, 'bytecode') };

const OBJECTS = join(REPO, 'test/e2e/dispatcher-namespace.yaml');

/** Creates the dispatcher's service account with only the permissions of `dispatcher/rbac.yaml`. */
export async function grantDispatcher(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '-f', join(REPO, 'dispatcher/rbac.yaml'), '-f', OBJECTS]);
}

/** Removes the objects of {@link grantDispatcher}, and every pod in its namespace. */
export async function removeDispatcher(cluster: Cluster): Promise<void> {
  const files = ['-f', OBJECTS, '-f', join(REPO, 'dispatcher/rbac.yaml')];
  await cluster.kubectl(['delete', '--ignore-not-found', ...files], undefined, 90_000);
}

/** The result of a call of `gvisor-dispatch`. */
export type Dispatched = {
  readonly code: number;
  /** Its standard output, {} if that is no JSON. */
  readonly output: Readonly<Record<string, unknown>>;
  readonly stderr: string;
  /** Its requests to the API server, see {@link ApiGate.passed}. */
  readonly requests: readonly string[];
};

export type DispatcherCall = {
  readonly policy?: 'require' | 'prefer' | 'wait';
  readonly name: string;
  readonly namespace?: string;
  readonly options?: readonly string[];
  /** Overrides of the pod's spec. */
  readonly spec?: object;
  /** Another command than `run` with its arguments. */
  readonly argv?: readonly string[];
  /** Configures the proxy before the call. */
  readonly gate?: (gate: ApiGate) => void;
};

/** Runs the command through a proxy, with a token of the service account. */
export async function dispatch(cluster: Cluster, call: DispatcherCall): Promise<Dispatched> {
  const { policy = 'require', name } = call;
  const gate = new ApiGate(cluster);
  call.gate?.(gate);
  const directory = await mkdtemp(join(tmpdir(), 'dispatch-'));
  try {
    const kubeconfig = join(directory, 'kubeconfig');
    const token = await cluster.kubectl(['create', 'token', 'dispatcher', '-n', FREE, '--duration=1h']);
    await writeFile(kubeconfig, kubeconfigOf(await gate.open(), token.trim()), { mode: 0o600 });
    const file = join(directory, `${name}.yaml`);
    await writeFile(file, JSON.stringify(podOf(call)));
    const run = ['run', '--policy', policy, '--remove-deadline', '30', ...(call.options ?? []), file];
    const args = call.argv ?? run;
    const options = { env: { KUBECONFIG: kubeconfig, ...PYTHON }, timeoutMs: 150_000 };
    const dispatching = ['-m', 'gvisor_dispatch', ...args];
    const { code, stdout, stderr } = await runAll(await ensurePython(), dispatching, options);
    const output = stdout.startsWith('{') ? (JSON.parse(stdout) as Record<string, unknown>) : {};
    return { code, output, stderr, requests: gate.passed };
  } finally {
    await gate.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** An evaluation pod: no token, no privileges, no restart. */
function podOf({ name, namespace = FREE, spec = {} }: DispatcherCall): object {
  const containers = [
    {
      name: 'evaluation',
      image: imageName('workload'),
      command: ['sleep', '600'],
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    },
  ];
  const quiet = {
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 1,
  };
  return { metadata: { name, namespace }, spec: { containers, ...quiet, ...spec } };
}

function kubeconfigOf(server: string, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'gate',
    clusters: [{ name: 'gate', cluster: { server } }],
    users: [{ name: 'dispatcher', user: { token } }],
    contexts: [{ name: 'gate', context: { cluster: 'gate', user: 'dispatcher' } }],
  });
}

export function creations({ requests }: Dispatched): string[] {
  return requests.filter((one) => /^POST .*\/pods\b.* 201$/.test(one));
}
