import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { imageName } from '../../cluster/images.ts';
import { breakAndWait, healAndWait } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { run } from '../../hack/run.ts';
import { useDispatcher } from './dispatcher-cluster.ts';
import { creations, FREE, readPod } from './dispatcher-run.ts';
import { GVISOR_NODES } from './e2e-cluster.ts';

const { cluster, call, kubectl, kernelIn } = useDispatcher();
const CREATE = /\/pods$|\/pods\?/;
const GVISOR = /^Linux version 4\.4\.0 /;

describe('the dispatcher', () => {
  it('starts a pod in gVisor under every policy while nodes are proven', async () => {
    for (const policy of ['require', 'prefer'] as const) {
      const { code, output, stderr } = await call({ policy, name: policy });
      assert.equal(code, 0, stderr);
      assert.equal(output.in_gvisor, true);
      assert.match(String(output.node), /^node-[12]$/);
      assert.match(await kernelIn(policy), GVISOR);
      assert.equal((await readPod(cluster(), policy)).metadata.labels['gvisor-ready.dev/dispatch'], 'gvisor');
    }
  });

  // Who may fall back, and when, is in `test/dispatcher` and `test/api/dispatcher.test.ts`.
  it('refuses while gVisor fails, or falls back with a warning if the namespace allows it', async () => {
    await Promise.all(GVISOR_NODES.map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    const refused = await call({ name: 'refused' });
    assert.deepEqual([refused.code, refused.output.reason], [3, 'GVisorFails'], refused.stderr);
    assert.deepEqual(creations(refused), []);

    const { code, output, stderr } = await call({ policy: 'prefer', name: 'fallback' });
    assert.deepEqual([code, output.in_gvisor, output.reason], [0, false, 'GVisorFails'], stderr);
    assert.match(
      stderr,
      /^WARNING dispatcher-free\/fallback runs WITHOUT gVisor: GVisorFails: .*RunscNotFound/m,
    );
    assert.equal(await kernelIn('fallback'), (await readFile('/proc/version', 'utf8')).trim());
    const pod = await readPod(cluster(), 'fallback');
    assert.equal(pod.metadata.annotations?.['gvisor-ready.dev/dispatch-reason'], 'GVisorFails');
    const events = `involvedObject.uid=${pod.metadata.uid},reason=GVisorFallback`;
    const path = 'jsonpath={.items[*].type} {.items[*].message}';
    const event = await kubectl('get', 'events', '-n', FREE, '--field-selector', events, '-o', path);
    assert.match(event, /^Warning runs without gVisor: GVisorFails: /);
  });

  it('with "wait" keeps a Pending pod for the autoscaler until a node is proven', async () => {
    await Promise.all(GVISOR_NODES.map((node) => breakAndWait(cluster(), node, 'runsc-missing')));
    const waited = await call({
      policy: 'wait',
      name: 'waits',
      gate: (gate) =>
        gate.after('POST', CREATE, async () => {
          assert.equal((await readPod(cluster(), 'waits')).status.phase, 'Pending');
          await healAndWait(cluster(), 'node-1');
        }),
    });
    assert.deepEqual([waited.code, waited.output.in_gvisor], [0, true], waited.stderr);
    assert.equal(waited.output.node, 'node-1');
    assert.match(await kernelIn('waits'), GVISOR);
  });

  it('creates one pod per evaluation with two concurrent callers, and adopts it after a caller was killed', async () => {
    const both = await Promise.all([call({ name: 'once' }), call({ name: 'once' })]);
    assert.deepEqual(both.map(({ output }) => output.adopted).sort(), [false, true], both[0].stderr);
    const killed = new AbortController();
    await assert.rejects(
      call({
        name: 'killed',
        signal: killed.signal,
        gate: (gate) => gate.after('POST', CREATE, async () => killed.abort()),
      }),
      /aborted/,
    );
    const again = await call({ name: 'killed' });
    assert.deepEqual(
      [again.code, again.output.in_gvisor, again.output.adopted],
      [0, true, true],
      again.stderr,
    );
    assert.deepEqual(creations(again), []);
  });

  it('creates a Job whose pods run in gVisor', async () => {
    const job = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'job', namespace: FREE },
      spec: {
        backoffLimit: 0,
        template: {
          spec: {
            restartPolicy: 'Never',
            containers: [{ name: 'c', image: imageName('workload'), command: ['cat', '/proc/version'] }],
          },
        },
      },
    };
    const script = `import json, sys
from kubernetes import client, config
from gvisor_dispatch import Dispatcher, Policy
config.load_kube_config()
job = Dispatcher(client.ApiClient()).create(json.load(sys.stdin), Policy.PREFER)
print(json.dumps(job["spec"]["template"]))`;
    const printed = await run(await ensurePython(), ['-B', '-c', script], {
      input: JSON.stringify(job),
      env: { KUBECONFIG: cluster().kubeconfig, PYTHONPATH: join(REPO, 'dispatcher') },
    });
    assert.equal(JSON.parse(printed).spec.runtimeClassName, 'gvisor');
    try {
      await kubectl('wait', '--for=condition=Complete', 'job/job', '-n', FREE, '--timeout=180s');
      assert.match(await kubectl('logs', 'job/job', '-n', FREE), GVISOR);
    } finally {
      await kubectl('delete', 'job', 'job', '-n', FREE);
    }
  });
});
