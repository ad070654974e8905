import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { parse, stringify } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { READY_LABEL } from '../../cluster/labels.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { moduleDirectory, source, type ToolGroup } from '../../cluster/tools/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';
import { waitFor } from '../../hack/run.ts';
import { applyOverlay, waitForNode } from '../e2e/agents.ts';
import { createNamespace, tryCreate, useOwnCluster } from '../e2e/e2e-cluster.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { startController } from './controller-process.ts';

const NAMESPACE = 'evaluations';
const EVALUATION = { image: imageName('workload'), command: ['cat', '/proc/version'] };

let cluster: Cluster;
useOwnCluster(
  'platforms',
  [{ name: 'node-1' }],
  async (started) => {
    cluster = started;
    await applyOverlay(cluster, ['enforce']);
    await waitForNode(cluster, 'node-1', ({ ready }) => ready === 'true', 90_000);
    await createNamespace(cluster, NAMESPACE, { 'gvisor-ready.dev/require': 'true' });
    await waitFor('pods to be refused', 30_000, async () => {
      const outside = evaluationPod('outside', { gvisor: false });
      const { output } = await tryCreate(cluster, NAMESPACE, outside, '--dry-run=server');
      return output.includes('spec.runtimeClassName is not set');
    });
  },
  ['workload', 'agent', 'tekton-entrypoint'],
);
/** Applies the definitions of a platform, and runs its controller as an administrator until the test ends. */
async function startPlatform(
  test: TestContext,
  [group, module, crds, file]: readonly [ToolGroup, string, string, string],
  args: readonly string[],
): Promise<void> {
  const directory = join(await moduleDirectory(module, source(group)), crds);
  const files = (await readdir(directory)).filter((file) => /^(argoproj\.io_|300-).*\.yaml$/.test(file));
  const given = files.flatMap((file) => ['-f', join(directory, file)]);
  await cluster.kubectl(['apply', '--server-side', ...given]);
  await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s']);
  const env = {
    LEADER_ELECTION_DISABLE: 'true',
    SYSTEM_NAMESPACE: 'tekton-pipelines',
    PROBES_PORT: '0',
  };
  const all = ['--kubeconfig', cluster.kubeconfig, ...args];
  test.after(await startController(cluster, { group, file, args: all, env }));
}

/** Creates what a recipe says, after a change of its image. Fields that the platform does not know are refused. */
async function createRecipe(file: string, replace: (recipe: Recipe) => void): Promise<void> {
  const recipe = parse(await readFile(join(REPO, 'dispatcher/recipes', file), 'utf8')) as Recipe;
  replace(recipe);
  const { code, output } = await tryCreate(cluster, NAMESPACE, stringify(recipe), '--validate=strict');
  assert.equal(code, 0, output);
}

type Recipe = {
  readonly spec: {
    readonly templates?: readonly { readonly container: object }[];
    readonly taskSpec?: { readonly steps: readonly object[] };
  };
};

/** The pod with this label, once it is as far as that. */
async function podOf(label: string, isSoFar: (pod: V1Pod) => boolean): Promise<V1Pod> {
  return waitFor(`a pod with ${label}`, 120_000, async () => {
    const path = `/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${encodeURIComponent(label)}`;
    const { items } = JSON.parse(await cluster.get(path)) as { readonly items: readonly V1Pod[] };
    assert.ok(items.length <= 1);
    return items.find(isSoFar);
  });
}

/** Expects a pod of gVisor on the proven node, which asks for nothing that gVisor refuses. */
async function check(pod: V1Pod): Promise<void> {
  assert.deepEqual(
    [pod.spec?.runtimeClassName, pod.spec?.nodeSelector?.[READY_LABEL], pod.spec?.nodeName],
    ['gvisor', 'true', 'node-1'],
  );
  assert.equal(pod.spec?.automountServiceAccountToken, false);
  const file = join(cluster.dir, 'pod.json');
  await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'Pod', ...pod }));
  const { code, out, err } = await plugin(['check', '-f', file]);
  assert.equal(code, 0, `${out}${err}`);
}

describe("the recipes with the platforms' own controllers, in a namespace that requires gVisor", () => {
  it('Tekton runs the task in gVisor', async (t) => {
    const config = join(await moduleDirectory('github.com/tektoncd/pipeline', source('tekton')), 'config');
    await createNamespace(cluster, 'tekton-pipelines');
    const maps = (await readdir(config)).filter((file) => /^config-.*\.yaml$/.test(file));
    await cluster.kubectl(['apply', ...maps.flatMap((file) => ['-f', join(config, file)])]);
    const entrypoint = imageName('tekton-entrypoint');
    const images = ['entrypoint', 'nop', 'sidecarlogresults', 'workingdirinit', 'shell'];
    await startPlatform(
      t,
      ['tekton', 'github.com/tektoncd/pipeline', 'config/300-crds', 'controller'],
      [
        '--disable-ha',
        '--shell-image-win',
        entrypoint,
        ...images.flatMap((name) => [`--${name}-image`, entrypoint]),
      ],
    );
    await createRecipe('tekton-taskrun.yaml', ({ spec }) =>
      Object.assign(spec.taskSpec?.steps[0] ?? {}, EVALUATION),
    );
    const pod = await podOf('tekton.dev/taskRun', ({ status }) => status?.phase === 'Succeeded');
    await check(pod);
    const kernel = await cluster.kubectl([
      'logs',
      '-n',
      NAMESPACE,
      `${pod.metadata?.name}`,
      '-c',
      'step-evaluate',
    ]);
    assert.match(kernel, /^Linux version 4\.4\.0 /);
    await waitFor('the TaskRun to succeed', 60_000, async () => {
      const path = 'jsonpath={.items[*].status.conditions[*].reason}';
      return (await cluster.kubectl(['get', 'taskruns', '-n', NAMESPACE, '-o', path])) === 'Succeeded';
    });
  });

  it('Argo Workflows makes a pod of the class', async (t) => {
    const name = 'workflow-controller-configmap';
    await cluster.kubectl(['create', 'configmap', name, '-n', NAMESPACE]);
    await cluster.kubectl(['create', 'serviceaccount', 'argo-executor', '-n', NAMESPACE]);
    await startPlatform(
      t,
      [
        'argo-workflows',
        'github.com/argoproj/argo-workflows/v4',
        'manifests/base/crds/full',
        'workflow-controller',
      ],
      ['--namespace', NAMESPACE, '--namespaced', '--executor-image', imageName('workload')],
    );
    await createRecipe('argo-workflow.yaml', ({ spec }) =>
      Object.assign(spec.templates?.[0]?.container ?? {}, EVALUATION),
    );
    const pod = await podOf('workflows.argoproj.io/workflow', ({ spec }) => spec?.nodeName !== undefined);
    await check(pod);
  });
});
