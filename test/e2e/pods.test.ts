import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { before, describe, it } from 'node:test';
import { STATIC_PODS } from '../../cluster/node/config.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import { podEvents, readMetrics } from './agents.ts';
import { createNamespace, runtimeClass, startPod, useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const NAMESPACE = 'must-be-in-gvisor';
const NODE = 'node-1';
const TIMEOUT_MS = 30_000;

const kubectl = (args: readonly string[], input?: string, timeoutMs?: number) =>
  cluster().kubectl(args, input, timeoutMs);

/** Starts a pod on a node without the scheduler; returns the time at which it is Ready. */
async function start(
  name: string,
  options: { readonly node?: string; readonly runtimeClassName?: string } = {},
): Promise<number> {
  const { node = NODE, ...spec } = options;
  const pod = evaluationPod(name, { gvisor: false, spec: { nodeName: node, ...spec } });
  await startPod(cluster(), NAMESPACE, name, pod);
  return performance.now();
}

/** The agent's samples with this prefix, through the API server's proxy. */
async function samples(prefix: string, node = NODE): Promise<readonly string[]> {
  const text = await readMetrics(cluster(), node);
  return text.split('\n').filter((line) => line.startsWith(prefix));
}

/** Waits until the samples with this prefix equal `expected`. */
async function shows(prefix: string, expected: readonly string[], node = NODE): Promise<void> {
  let current: readonly string[] = [];
  await waitFor(`${expected.join(', ') || `no ${prefix}`}`, TIMEOUT_MS, async () => {
    current = await samples(prefix, node);
    return current.join('\n') === expected.join('\n');
  }).catch((error: Error) => {
    throw new Error(`${error.message}; it shows ${current.join(', ') || 'nothing'}`);
  });
}

const eventsOf = (pod: string) => podEvents(cluster(), NAMESPACE, pod, 'UnsandboxedPod');
const eventOf = (pod: string) =>
  waitFor(`an event on the pod ${pod}`, TIMEOUT_MS, async () => (await eventsOf(pod))[0]);

describe('pods that must run in gVisor', () => {
  before(async () => {
    await kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found']);
    await createNamespace(cluster(), NAMESPACE, { 'gvisor-ready.dev/require': 'true' });
    await kubectl(['apply', '-f', '-'], runtimeClass('handler-alone', 'runsc'));
  });

  it('does not report a pod in gVisor', async () => {
    await start('in-gvisor', { runtimeClassName: 'handler-alone' });
    await shows('gvisor_ready_pods{handler="runsc"', [
      'gvisor_ready_pods{handler="runsc",sandboxed="true"} 1',
    ]);
    assert.deepEqual(await samples('gvisor_ready_unsandboxed_pods'), ['gvisor_ready_unsandboxed_pods 0']);
    assert.deepEqual(await eventsOf('in-gvisor'), []);
  });

  it('reports a pod outside gVisor in a metric and an event', async (t) => {
    const runningAt = await start('plain');
    assert.match(
      await eventOf('plain'),
      /^This pod runs on the kernel of the node.*process \d+ is ".*", handler ""/,
    );
    t.diagnostic(`event ${((performance.now() - runningAt) / 1000).toFixed(1)} s after the pod was Ready`);
    await shows('gvisor_ready_unsandboxed_pods', ['gvisor_ready_unsandboxed_pods 1']);
    assert.equal((await eventsOf('plain')).length, 1);
  });

  it('reports a static pod, which bypasses admission and scheduler', async () => {
    const pod = JSON.parse(evaluationPod('static', { gvisor: false })) as { metadata: object };
    const manifest = { ...pod, metadata: { ...pod.metadata, namespace: NAMESPACE } };
    const node = cluster().node(NODE);
    const file = `${STATIC_PODS}/static.json`;
    await node.write(file, JSON.stringify(manifest));
    try {
      assert.match(await eventOf(`static-${NODE}`), /^This pod runs on the kernel of the node/);
      await shows('gvisor_ready_unsandboxed_pods', ['gvisor_ready_unsandboxed_pods 2']);
      assert.match(await kubectl(['describe', 'pod', '-n', NAMESPACE, `static-${NODE}`]), /UnsandboxedPod/);
    } finally {
      await rm(node.path(file));
    }
    await shows('gvisor_ready_unsandboxed_pods', ['gvisor_ready_unsandboxed_pods 1']);
  });

  it('follows the label of the namespace', async () => {
    await kubectl(['label', 'namespace', NAMESPACE, 'gvisor-ready.dev/require-']);
    await shows('gvisor_ready_unsandboxed_pods', ['gvisor_ready_unsandboxed_pods 0']);
    await kubectl(['label', 'namespace', NAMESPACE, 'gvisor-ready.dev/require=true']);
    await shows('gvisor_ready_unsandboxed_pods', ['gvisor_ready_unsandboxed_pods 1']);
  });

  it('drops pods that ended', async () => {
    await kubectl(['delete', 'namespace', NAMESPACE, '--timeout=180s']);
    await kubectl(['delete', 'runtimeclass', 'handler-alone']);
    await shows('gvisor_ready_unsandboxed_pods', ['gvisor_ready_unsandboxed_pods 0']);
    await shows('gvisor_ready_pods{handler="runsc"', []);
  });
});
