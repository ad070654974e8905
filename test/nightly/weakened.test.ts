import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { healNode } from '../../cluster/faults/break-node.ts';
import {
  CONTAINERD_CONFIG,
  containerdConfig,
  gvisorConfig,
  gvisorTable,
  RUNSC_CONFIG,
} from '../../cluster/node/config.ts';
import { evaluationPod } from '../../cluster/pods.ts';
import { waitFor } from '../../hack/run.ts';
import type { Report, Status } from '../../lib/report/report.ts';
import { podEvents, waitForMetric, waitForNode } from '../e2e/agents.ts';
import { createNamespace, runtimeClass, startPod, useCluster } from '../e2e/e2e-cluster.ts';
import { reportOf } from '../e2e/upgraded-pods.ts';

const cluster = useCluster();
const NAMESPACE = 'weakened';
const TIMEOUT_MS = 30_000;
const HOST_UDS = { 'dev.gvisor.flag.host-uds': 'all' };

/** Adds a line to the node's handler, and restarts containerd. */
async function passAnnotations(name: string, line: string): Promise<void> {
  const node = cluster().node(name);
  const handler = gvisorTable(node.spec).replace(/ {2}runtime_type.*\n/, `$&  ${line}\n`);
  await node.write(CONTAINERD_CONFIG, containerdConfig(node.spec, handler));
  await node.restart('containerd');
}

async function start(name: string, node: string, annotations: object): Promise<void> {
  const volumes = [{ name: 'data', emptyDir: {} }];
  const spec = { nodeName: node, runtimeClassName: 'runsc-anywhere', volumes };
  const container = { volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  const pod = JSON.parse(evaluationPod(name, { gvisor: false, spec, container })) as { metadata: object };
  const manifest = { ...pod, metadata: { ...pod.metadata, annotations } };
  await startPod(cluster(), NAMESPACE, name, JSON.stringify(manifest));
}

async function end(...names: readonly string[]): Promise<void> {
  await cluster().kubectl(['delete', 'pod', '-n', NAMESPACE, ...names, '--force', '--grace-period=0']);
}

/** The argument lists of gVisor sandboxes on the node that contain this text. */
async function sandboxesWith(node: string, text: string): Promise<readonly string[]> {
  const all = await cluster().node(node).system.processes();
  return all
    .map(({ argv }) => argv.join(' '))
    .filter((line) => /runsc-sandbox/.test(line) && line.includes(text));
}

/** Waits for a report in which this pod counts as sandboxed. */
function reportWith(node: string, pod: string): Promise<Status> {
  return waitFor(`the agent on ${node} to have read ${pod}`, TIMEOUT_MS, async () => {
    const get = ['get', 'pod', '-n', NAMESPACE, pod, '-o', 'jsonpath={.metadata.uid}'];
    const uid = await cluster().kubectl(get);
    const report = await reportOf(cluster(), node);
    return report.pods?.sandboxedUids.includes(uid) ? report : undefined;
  });
}

const eventsOn = (pod: string) => podEvents(cluster(), NAMESPACE, pod, 'WeakenedPod');

function isolationOf({ findings }: Report) {
  const finding = findings.find(({ check }) => check === 'isolation');
  return finding?.status === 'fail' ? `${finding.severity} ${finding.reason}` : finding?.status;
}

for (const node of ['node-1', 'node-2']) {
  describe(`on ${node}, a handler that passes pod annotations to runsc`, () => {
    before(async () => {
      await cluster().kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found']);
      await createNamespace(cluster(), NAMESPACE, { 'gvisor-ready.dev/require': 'true' });
      await cluster().kubectl(['apply', '-f', '-'], runtimeClass('runsc-anywhere', 'runsc'));
    });
    after(async () => {
      await cluster().kubectl(['delete', 'namespace', NAMESPACE, '--timeout=90s']);
      await cluster().kubectl(['delete', 'runtimeclass', 'runsc-anywhere']);
      await healNode(cluster(), cluster().node(node));
    });

    it('is a warning with its pattern, and the node stays proven', async () => {
      await passAnnotations(node, 'pod_annotations = ["dev.gvisor.*"]');
      const report = await waitFor('the finding', TIMEOUT_MS, async () => {
        const report = await reportOf(cluster(), node);
        return isolationOf(report) === 'warning AnnotationsPassFlags' ? report : undefined;
      });
      assert.match(JSON.stringify(report.findings), /by the pattern \\"dev\.gvisor\.\*\\"/);
      await waitForNode(cluster(), node, ({ ready }) => ready === 'true');
    });

    it('reports a pod that weakened its sandbox in report, metrics and event', async () => {
      await start('opened', node, HOST_UDS);
      assert.equal((await sandboxesWith(node, '--host-uds=all')).length, 1);
      const { pods } = await reportWith(node, 'opened');
      assert.deepEqual(
        pods?.weakened.map(({ name, sandboxed, weak }) => [name, sandboxed, weak.map(({ flag }) => flag)]),
        [['opened', true, ['host-uds']]],
      );
      const event = await waitFor('the event', TIMEOUT_MS, async () => (await eventsOn('opened'))[0]);
      assert.match(
        event,
        /^The sandbox of this pod is weakened: process \d+ is ".*" with host-uds=all: pods can/,
      );
      await waitForMetric(cluster(), node, 'gvisor_ready_weakened_pods 1');
      await waitForMetric(cluster(), node, 'gvisor_ready_unsandboxed_pods 1');
    });

    it('detects it despite flags that fill the command line', async () => {
      const long = { 'dev.gvisor.flag.strace-syscalls': 'x'.repeat(100_000) };
      await start('hidden', node, { ...HOST_UDS, ...long });
      const { pods } = await reportWith(node, 'hidden');
      assert.ok(pods?.weakened.some(({ name }) => name === 'hidden'));
      await end('hidden');
    });

    it('reports a pod whose annotation weakens its sandbox without a flag', async () => {
      // Both releases here lack this annotation; 2026-09 has it.
      await start('annotated', node, { 'dev.gvisor.internal.checkpoint.path': '/checkpoints' });
      const { pods } = await reportWith(node, 'annotated');
      const weak = pods?.weakened.find(({ name }) => name === 'annotated')?.weak;
      assert.deepEqual(
        weak?.map(({ flag, severity }) => [flag, severity]),
        [['dev.gvisor.internal.checkpoint.path', 'blocker']],
      );
      await waitForMetric(cluster(), node, 'gvisor_ready_weakened_pods 2');
      await end('annotated');
    });

    it('reports a pod of an earlier configuration that is weaker than the current one', async () => {
      const machine = cluster().node(node);
      const write = (toml: string) => machine.write(RUNSC_CONFIG, toml);
      await write(`${gvisorConfig(machine.spec)}  net-raw = "true"\n`);
      await waitFor(
        'the finding',
        TIMEOUT_MS,
        async () => isolationOf(await reportOf(cluster(), node)) === 'warning IsolationWeakened',
      );
      await start('aged', node, {});
      const isWeakened = ({ pods }: Status) => pods?.weakened.some(({ name }) => name === 'aged');
      assert.equal(isWeakened(await reportWith(node, 'aged')), false);
      await write(gvisorConfig(machine.spec));
      await waitFor('aged to be weakened', TIMEOUT_MS, async () =>
        isWeakened(await reportOf(cluster(), node)),
      );
      await end('aged');
    });
  });
}
