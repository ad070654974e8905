import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { breakAndWait, evaluationPod, healAndWait } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { applyOverlay, removeEnforcement, waitForRollout } from './agents.ts';
import {
  type Dispatched,
  type DispatcherCall,
  dispatch,
  FREE,
  grantDispatcher,
  removeDispatcher,
} from './dispatcher-run.ts';
import { createNamespace, tryCreate } from './e2e-cluster.ts';
import { useMonitoredCluster } from './monitored-cluster.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
const NAMESPACE = 'evaluations';

/** Prints a line of the story, as docs/story.md shows it. */
function print(line: string): void {
  console.log(`  ${line}`);
}

const there = (...args: string[]) => cluster().kubectl(['-n', NAMESPACE, ...args]);

const create = (name: string, gvisor: boolean, ...options: string[]) =>
  tryCreate(cluster(), NAMESPACE, evaluationPod(name, { gvisor }), ...options);

/** Creates a pod and prints the command and its output. */
async function createAndPrint(name: string, gvisor: boolean) {
  print(
    `$ kubectl -n ${NAMESPACE} create -f ${name}.yaml${gvisor ? '      # runtimeClassName: gvisor' : ''}`,
  );
  const result = await create(name, gvisor);
  for (const line of result.output.split('\n')) print(`  ${line}`);
  return result;
}

/** Labels the namespace, and waits until a dry run of a plain pod has this response. */
async function requireGvisor(value: 'audit' | 'true', response: RegExp): Promise<void> {
  await cluster().kubectl(['label', 'namespace', NAMESPACE, `require-gvisor=${value}`, '--overwrite']);
  let last = '';
  await waitFor(`the response ${response}`, 90_000, async () => {
    last = (await create('canary', false, '--dry-run=server')).output;
    return response.test(last);
  }).catch(async (cause: unknown) => {
    const kinds = 'namespaces,validatingadmissionpolicy,validatingadmissionpolicybinding';
    const objects = await cluster().kubectl(['get', kinds, '-A', '--show-labels']);
    throw new Error(`The last response was "${last}", with\n${objects}`, { cause });
  });
}

/** Calls the dispatcher and prints the result. */
async function dispatchAndPrint(call: DispatcherCall): Promise<Dispatched> {
  const { policy = 'require', name, namespace = FREE, options = [] } = call;
  const args = ['--policy', policy, ...options, `${name}.yaml`].join(' ');
  print(`$ gvisor-dispatch run ${args}      # namespace: ${namespace}`);
  const result = await dispatch(cluster(), call);
  for (const line of result.stderr.trim().split('\n').filter(Boolean)) print(`  ${line.slice(0, 200)}`);
  const { node, in_gvisor: inside, reason } = result.output;
  if (result.code === 0) print(`  exit 0: on ${node}, ${inside ? 'in gVisor' : 'NOT in gVisor'}`);
  else print(`  exit ${result.code}: refused, ${reason}`);
  return result;
}

/** Waits until an alert fires or resolves, and prints how long it took. */
async function alert(name: string, firing: boolean, node?: string): Promise<void> {
  const begun = performance.now();
  const reached = async () => {
    const found = await monitored().prometheus.find(name, node);
    return (found !== undefined) === firing ? { found } : undefined;
  };
  const { found } = await waitFor(`${name} to ${firing ? 'fire' : 'resolve'}`, 120_000, reached, 250);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  print(`Prometheus: ${name} ${firing ? 'fires' : 'has resolved'}, ${seconds} s later`);
  if (found !== undefined) print(`  ${found.annotations.summary}`);
}

describe('a fleet for evaluations', () => {
  before(async () => {
    await grantDispatcher(cluster());
    await applyOverlay(cluster(), ['enforce']);
    await waitForRollout(cluster());
    await createNamespace(cluster(), NAMESPACE);
    const account = `--serviceaccount=${FREE}:dispatcher`;
    await there('create', 'rolebinding', 'dispatcher', '--clusterrole=gvisor-dispatcher-pods', account);
  });
  after(async () => {
    await removeEnforcement(cluster());
    await cluster().kubectl(['delete', 'namespace', NAMESPACE], undefined, 90_000);
    await removeDispatcher(cluster());
  });

  it('goes from audit to enforce', async () => {
    print('1. The namespace is audited: a plain pod is warned about');
    await requireGvisor('audit', /^Warning:/m);
    assert.match(
      (await createAndPrint('plain', false)).output,
      /^Warning: .*write runtimeClassName: gvisor/m,
    );
    await there('delete', 'pod', 'plain', '--grace-period=0', '--force');

    print('2. The namespace is enforced: a plain pod is refused, one in gVisor runs');
    await requireGvisor('true', /^Error from server \(Forbidden\)/m);
    assert.equal((await createAndPrint('plain', false)).code, 1);
  });

  it('runs a pod in gVisor', async () => {
    assert.equal((await createAndPrint('evaluation', true)).code, 0);
    await there('wait', '--for=condition=Ready', 'pod/evaluation', '--timeout=180s');
    const kernel = await there('exec', 'evaluation', '--', 'cat', '/proc/version');
    print('$ kubectl -n evaluations exec evaluation -- cat /proc/version');
    print(`  ${kernel.trim()}`);
    assert.match(kernel, /^Linux version 4\.4\.0 /);
  });

  it('loses both nodes one by one: alerts fire, pods avoid them, the dispatcher refuses or falls back', async () => {
    print('3. node-1 loses its gVisor shim');
    const first = await breakAndWait(cluster(), 'node-1', 'shim-missing');
    print(`its label is gone after ${first.toFixed(2)} s`);
    await alert('GVisorNodeNotReady', true, 'node-1');
    const other = await dispatchAndPrint({ name: 'avoids', namespace: NAMESPACE });
    assert.deepEqual([other.code, other.output.node], [0, 'node-2'], other.stderr);

    print('4. node-2 loses its runsc: no node is left');
    const second = await breakAndWait(cluster(), 'node-2', 'runsc-missing');
    print(`its label is gone after ${second.toFixed(2)} s`);
    await alert('GVisorNoNodeReady', true);
    // node-3 never had gVisor, and its condition is only minutes old.
    const prefer = { policy: 'prefer', options: ['--install-grace', '1'] } as const;
    const refused = await dispatchAndPrint({ ...prefer, name: 'refused', namespace: NAMESPACE });
    assert.deepEqual([refused.code, refused.output.reason], [3, 'GVisorFails'], refused.stderr);
    const fallback = await dispatchAndPrint({ ...prefer, name: 'fallback' });
    assert.deepEqual([fallback.code, fallback.output.in_gvisor], [0, false], fallback.stderr);
  });

  it('recovers: alerts resolve, and pods run again', async () => {
    print('5. Both are repaired');
    for (const node of ['node-1', 'node-2']) {
      print(`the label of ${node} is back after ${(await healAndWait(cluster(), node)).toFixed(2)} s`);
    }
    await alert('GVisorNoNodeReady', false);
    const again = await dispatchAndPrint({ name: 'again', namespace: NAMESPACE });
    assert.deepEqual([again.code, again.output.in_gvisor], [0, true], again.stderr);
  });
});
