import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { CACHE, REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';

const RECIPES = join(REPO, 'dispatcher/recipes');

/** A pod of KubernetesExecutor and one of KubernetesPodOperator, made of a template, as JSON. */
const AIRFLOW = `
import json, sys
from datetime import datetime, timezone
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import ApiClient
file = sys.argv[1]
of_executor = PodGenerator.construct_pod(
    dag_id="dag", task_id="task", pod_id="pod", try_number=1, kube_image="localhost/airflow", date=datetime.now(timezone.utc),
    args=["airflow", "tasks", "run"], pod_override_object=None, base_worker_pod=PodGenerator.deserialize_model_file(file),
    namespace="evaluations", scheduler_job_id="1", run_id="run",
)
of_operator = KubernetesPodOperator(task_id="task", pod_template_file=file, image="localhost/evaluation").build_pod_request_obj()
json.dump([ApiClient().sanitize_for_serialization(pod) for pod in (of_executor, of_operator)], sys.stdout)
`;
/** A workflow that Argo's SDK has read, as it would be sent. */
const ARGO = `
import json, sys
from hera.workflows import Workflow
json.dump(Workflow.from_file(sys.argv[1]).to_dict(), sys.stdout)
`;

/** A kubeconfig, which the operator loads before it makes a pod; no request is sent. */
const NOWHERE = {
  'current-context': 'nowhere',
  contexts: [{ name: 'nowhere', context: { cluster: 'nowhere', user: 'nobody' } }],
  clusters: [{ name: 'nowhere', cluster: { server: 'https://127.0.0.1:1' } }],
  users: [{ name: 'nobody', user: {} }],
};

/** What a script prints last, with a package of PyPI in an environment of its own. */
async function printed(requirement: string, script: string, recipe: string): Promise<unknown> {
  const venv = join(CACHE, 'python', requirement);
  const python = join(venv, 'bin/python');
  if (!existsSync(python)) await run('python3', ['-m', 'venv', venv]);
  const install = ['-m', 'pip', 'install', '--quiet', requirement];
  await run(python, install, { timeoutMs: 10 * 60_000 });
  const home = await mkdtemp(join(tmpdir(), 'platform-'));
  try {
    const kubeconfig = join(home, 'kubeconfig');
    await writeFile(kubeconfig, JSON.stringify(NOWHERE));
    const env = { ...process.env, HOME: home, AIRFLOW_HOME: home, KUBECONFIG: kubeconfig };
    const text = await run(python, ['-B', '-c', script, join(RECIPES, recipe)], { env, timeoutMs: 300_000 });
    return JSON.parse(text.slice(text.search(/^[[{]/m)));
  } finally {
    await rm(home, { recursive: true });
  }
}

describe('the templates for platforms, read by their own libraries', () => {
  it('Airflow makes pods of the class, by executor and by operator', async () => {
    const provider = 'apache-airflow-providers-cncf-kubernetes==10.25.0';
    const pods = (await printed(provider, AIRFLOW, 'airflow-pod.yaml')) as readonly V1Pod[];
    assert.deepEqual(
      pods.map(({ spec }) => [spec?.runtimeClassName, spec?.containers[0]?.name]),
      [
        ['gvisor', 'base'],
        ['gvisor', 'base'],
      ],
    );
    assert.deepEqual(
      pods.map(({ spec }) => spec?.containers[0]?.image),
      ['localhost/airflow', 'localhost/evaluation'],
    );
  });

  it("Argo's SDK reads the workflow, and sends the patch of its pods", async () => {
    const { spec } = (await printed('hera[yaml]==7.1.0', ARGO, 'argo-workflow.yaml')) as {
      readonly spec: { readonly podSpecPatch: string };
    };
    assert.deepEqual(parse(spec.podSpecPatch), { runtimeClassName: 'gvisor' });
  });
});
