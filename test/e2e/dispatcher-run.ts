import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/images.ts';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { runAll } from '../../hack/run.ts';
import { ApiGate } from './api-gate.ts';

/** The namespaces of the tests: one whose pods must run in gVisor, one that consents to the host's kernel. */
export const REQUIRING = 'dispatcher-requires';
/** See {@link REQUIRING}. */
export const FREE = 'dispatcher-free';

const DISPATCHER = join(REPO, 'dispatcher');

/** Who the dispatcher is: a service account with what `dispatcher/rbac.yaml` grants, and nothing else. */
export async function grantDispatcher(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '-f', join(REPO, 'dispatcher/rbac.yaml')]);
  const binding = (kind: string, role: string, namespace?: string) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind,
    metadata: { name: role, ...(namespace === undefined ? {} : { namespace }) },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    subjects: [{ kind: 'ServiceAccount', name: 'dispatcher', namespace: FREE }],
  });
  const items = [
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: REQUIRING, labels: { 'require-gvisor': 'true' } },
    },
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: FREE, labels: { 'allow-host-kernel': 'true' } },
    },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'dispatcher', namespace: FREE } },
    binding('ClusterRoleBinding', 'gvisor-dispatcher'),
    binding('RoleBinding', 'gvisor-dispatcher-pods', FREE),
    binding('RoleBinding', 'gvisor-dispatcher-pods', REQUIRING),
  ];
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
}

/** Removes what {@link grantDispatcher} made, with every pod in its namespaces. */
export async function removeDispatcher(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', 'namespace', REQUIRING, FREE, '--ignore-not-found'], undefined, 90_000);
  const everywhere = ['clusterrole/gvisor-dispatcher', 'clusterrole/gvisor-dispatcher-pods'];
  await cluster.kubectl([
    'delete',
    '--ignore-not-found',
    ...everywhere,
    'clusterrolebinding/gvisor-dispatcher',
  ]);
}

/** What one call of `gvisor-dispatch` came to. */
export type Dispatched = {
  readonly code: number;
  /** What it printed, {} when that was no JSON. */
  readonly said: Readonly<Record<string, unknown>>;
  readonly stderr: string;
  /** The requests it made of the API server, see {@link ApiGate.passed}. */
  readonly requests: readonly string[];
};

/** What differs between the calls of the tests. */
export type DispatcherCall = {
  readonly policy?: 'require' | 'prefer' | 'wait';
  readonly name: string;
  readonly namespace?: string;
  readonly options?: readonly string[];
  /** What differs in the pod's spec. */
  readonly spec?: object;
  /** `ask` creates nothing. */
  readonly command?: 'run' | 'ask';
  /** Kills the caller. */
  readonly signal?: AbortSignal;
  /** Something to arrange at the gate before the call. */
  readonly gate?: (gate: ApiGate) => void;
};

/** Runs the command as a team would, with the service account's own token, through a gate. */
export async function dispatch(cluster: Cluster, call: DispatcherCall): Promise<Dispatched> {
  const { policy = 'require', name, options = [], command = 'run', signal } = call;
  const gate = new ApiGate(cluster);
  call.gate?.(gate);
  const folder = await mkdtemp(join(tmpdir(), 'dispatch-'));
  try {
    const kubeconfig = join(folder, 'kubeconfig');
    const token = (
      await cluster.kubectl(['create', 'token', 'dispatcher', `--namespace=${FREE}`, '--duration=1h'])
    ).trim();
    await writeFile(kubeconfig, kubeconfigOf(await gate.open(), token), { mode: 0o600 });
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, JSON.stringify(podOf(call)));
    const words = [command, '--policy', policy, '--remove-deadline', '30', ...options, file];
    const { code, stdout, stderr } = await runAll(
      await ensurePython(),
      ['-B', '-m', 'gvisor_dispatch', ...words],
      {
        env: { KUBECONFIG: kubeconfig, PYTHONPATH: DISPATCHER },
        timeoutMs: 150_000,
        ...(signal ? { signal } : {}),
      },
    );
    const said = stdout.startsWith('{') ? (JSON.parse(stdout) as Record<string, unknown>) : {};
    return { code, said, stderr, requests: gate.passed };
  } finally {
    await gate.close();
    await rm(folder, { recursive: true, force: true });
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

/** The pods that a call created, as the requests that made them. */
export function creations({ requests }: Dispatched): string[] {
  return requests.filter((one) => /^POST .*\/pods\b.* 201$/.test(one));
}

/** Fails unless the API server has no such pod. */
export async function assertNoPod(cluster: Cluster, name: string, namespace = FREE): Promise<void> {
  const found = await cluster.kubectl(['get', 'pod', name, '-n', namespace, '--ignore-not-found']);
  assert.equal(found, '', `there is no pod ${namespace}/${name}`);
}

/** A pod as the API server has it. */
export async function readPod(cluster: Cluster, name: string, namespace = FREE): Promise<PodView> {
  return JSON.parse(await cluster.kubectl(['get', 'pod', name, '-n', namespace, '-o', 'json'])) as PodView;
}

type PodView = {
  readonly metadata: {
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly runtimeClassName?: string };
  readonly status: { readonly phase: string };
};
