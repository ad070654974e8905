import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Cluster } from '../../cluster/cluster.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { evaluationPod, READY_PATH, runPod, watchNodes } from '../../cluster/story.ts';
import { ensureTools } from '../../cluster/tools.ts';
import { CHART } from '../../hack/chart.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { markedBlocks, withSettings } from '../docs/marked-blocks.ts';
import { HELMS, type HelmGroup } from '../integration/chart-objects.ts';
import { laneCluster } from '../lane.ts';
import { onDaemonSet, readNode, saidOf, waitForNode } from './agents.ts';
import { deletePods } from './e2e-cluster.ts';
import { followOn, giveReleases, guideBlocks } from './guide-node.ts';
import { marksOn, objectsLeft } from './left-over.ts';
import { runWithKubectl } from './run-with-kubectl.ts';

/** Nothing has gVisor yet: what node-1 gets, it gets from the page. */
const NODES = [
  { name: 'node-1', containerd: '2', gvisor: 'none' },
  { name: 'node-2', containerd: '2', gvisor: 'none' },
] as const;
/** What no registry has: where the image is on the nodes. */
const REPOSITORY = 'localhost/gvisor-ready';
const NAMESPACE = 'evaluations';
/** What hooks say; Helm 4 puts it into lines of its own log. */
const PROVEN = /This pod runs in gVisor: Linux version \S+ #1 SMP Sun Jan 10 15:06:54 PST 2016/;
const CLEANED = /2 nodes, 2 of them with something of the agents/;

let cluster: Cluster;
let tools: Awaited<ReturnType<typeof ensureTools<HelmGroup>>>;
before(
  async () => {
    tools = await ensureTools(HELMS);
    cluster = await startCluster({
      name: await laneCluster('helm'),
      nodes: NODES,
      images: ['workload', 'agent'],
    });
    await giveReleases(cluster);
  },
  { timeout: patient(600_000) },
);
after(async () => removeCluster(await laneCluster('helm')));

/** The commands of docs/install.md for one step. */
function commandsTo(step: string): string {
  const block = markedBlocks('docs/install.md').find(({ mark }) => mark === `helm, ${step}`);
  assert.ok(block !== undefined, step);
  return withSettings(block.text, { REPOSITORY, NAMESPACE });
}

/** Runs commands with a Helm in PATH, and gives what they say on standard error as well. */
const runWithHelm = (group: HelmGroup, script: string) =>
  runWithKubectl(cluster, `exec 2>&1\n${script}`, [tools[group]]);

const follow = (step: string) => runWithHelm('helm', commandsTo(step));

async function waitForVerdicts(): Promise<void> {
  await waitForNode(cluster, 'node-1', ({ condition }) => condition === 'True SandboxProven');
  await waitForNode(cluster, 'node-2', ({ condition }) => condition === 'False HandlerNotConfigured');
}

/** Does something under a watch: the label of node-1 and its condition stay, and a gVisor pod runs on. */
async function staysReady(act: () => Promise<unknown>): Promise<void> {
  const pod = () =>
    cluster.kubectl([
      'get',
      'pod',
      'evaluation',
      '-o',
      'jsonpath={.metadata.uid}{.status.containerStatuses}',
    ]);
  const labels: string[] = [];
  const watch = watchNodes(cluster, ['node-1'], [READY_PATH], ([label = '']) => labels.push(label));
  const [podBefore, { since }] = [await pod(), saidOf(await readNode(cluster, 'node-1'))];
  try {
    await act();
    await waitFor('the watch to tell of node-1', 30_000, async () => labels.length > 0 || undefined);
  } finally {
    watch.close();
  }
  assert.deepEqual([...new Set(labels)], ['true']);
  const said = saidOf(await readNode(cluster, 'node-1'));
  assert.deepEqual([said.condition, said.since], ['True SandboxProven', since]);
  assert.equal(await pod(), podBefore);
}

const environment = () =>
  onDaemonSet(cluster, ['get'], ['-o', 'jsonpath={.spec.template.spec.containers[0].env[*].name}']);

describe('from a cluster without gVisor to a namespace that requires it, as docs/install.md has it', () => {
  let begun = 0;
  it('gives a node gVisor', { timeout: patient(200_000) }, async () => {
    begun = performance.now();
    const printed = await followOn(cluster.node('node-1'), guideBlocks('node', 'node, containerd 2'));
    assert.match(printed, /^runsc version release-/m);
  });

  it('makes the node ready with Helm 4, and its test says so', { timeout: patient(300_000) }, async () => {
    assert.match(await follow('install'), PROVEN);
    await waitForVerdicts();
  });

  it('requires gVisor in a namespace', { timeout: patient(120_000) }, async (t) => {
    await follow('enforce');
    const create = (gvisor: boolean) =>
      cluster.kubectl(
        ['create', '--dry-run=server', '-n', NAMESPACE, '-f', '-'],
        evaluationPod('tried', { gvisor }),
      );
    await waitFor('the policy to be in force', 60_000, async () => {
      const said = await create(false).catch((error: Error) => error.message);
      return said.includes(`the namespace "${NAMESPACE}" requires gVisor`) || undefined;
    });
    assert.match(await create(true), /created/);
    t.diagnostic(`${Math.round((performance.now() - begun) / 1_000)} s since the first command on the node`);
  });

  it('is upgraded and rolled back under a gVisor pod, and no label goes', {
    timeout: patient(300_000),
  }, async () => {
    await runPod(cluster, 'evaluation', evaluationPod('evaluation', { gvisor: true }));
    await staysReady(() => follow('upgrade'));
    assert.match(await environment(), /PROOF_INTERVAL/);
    await staysReady(() => follow('rollback'));
    assert.doesNotMatch(await environment(), /PROOF_INTERVAL/);
    await deletePods(cluster, 'evaluation');
  });

  it('leaves nothing after the uninstall', { timeout: patient(300_000) }, async () => {
    assert.ok((await marksOn(cluster, 'node-1')).length > 0);
    await cluster.kubectl(['delete', 'namespace', NAMESPACE]);
    assert.match(await follow('uninstall'), CLEANED);
    for (const { name } of NODES) assert.deepEqual(await marksOn(cluster, name), [], name);
    assert.deepEqual(await objectsLeft(cluster), []);
  });
});

describe('the chart with Helm 3, in a namespace that denies everything', () => {
  const helm = (...words: readonly string[]) =>
    runWithHelm('helm-3', `helm ${words.join(' ')} -n gvisor-ready`);
  const enforce = (level: string) =>
    cluster.kubectl([
      'label',
      '--overwrite',
      'namespace',
      'gvisor-ready',
      `pod-security.kubernetes.io/enforce=${level}`,
    ]);
  before(async () => {
    await cluster.kubectl(['create', 'namespace', 'gvisor-ready']);
    await enforce('restricted');
    const deny = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'default-deny', namespace: 'gvisor-ready' },
      spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
    };
    await cluster.kubectl(['apply', '-f', '-'], JSON.stringify(deny));
  });

  it('waits for the label that its notes name, and then makes the node ready', {
    timeout: patient(300_000),
  }, async () => {
    const components = ['taint', 'enforce', 'fleet', 'networkPolicy'].flatMap((name) => [
      '--set',
      `${name}.enabled=true`,
    ]);
    const notes = await helm('install', 'gvisor-ready', CHART, ...components);
    await waitFor('a refusal of Pod Security', 60_000, async () => {
      const events = await cluster.kubectl(['get', 'events', '-n', 'gvisor-ready']);
      return /FailedCreate.*violates PodSecurity/.test(events) || undefined;
    });
    const [remedy] = /^ +kubectl label .*$/m.exec(notes) ?? [];
    assert.ok(remedy !== undefined, notes);
    await runWithKubectl(cluster, remedy);
    await waitForVerdicts();
  });

  it('tests and uninstalls itself where Pod Security is restricted', {
    timeout: patient(300_000),
  }, async () => {
    await enforce('restricted');
    assert.match(await helm('test', 'gvisor-ready'), PROVEN);
    assert.match(await helm('uninstall', 'gvisor-ready'), CLEANED);
    for (const { name } of NODES) assert.deepEqual(await marksOn(cluster, name), [], name);
    await cluster.kubectl(['delete', 'namespace', 'gvisor-ready', '--timeout=90s'], undefined, 100_000);
    assert.deepEqual(await objectsLeft(cluster), []);
  });
});
