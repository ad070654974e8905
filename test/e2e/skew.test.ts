import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { VERSION } from '../../agent/version.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { imageName } from '../../cluster/images.ts';
import { removeCluster } from '../../cluster/remove.ts';
import { startCluster } from '../../cluster/start.ts';
import { evaluationPod, runPod } from '../../cluster/story.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll, waitFor } from '../../hack/run.ts';
import { markedBlocks } from '../docs/marked-blocks.ts';
import { laneCluster } from '../lane.ts';
import { settle } from './admission-settle.ts';
import { askAgent, readMetrics, readNode, saidOf, waitForNode } from './agents.ts';
import { certificateUser } from './api-user.ts';
import { replaceAgent } from './disturb.ts';
import { readFleet, removeFleet, scaleFleet } from './fleet-cluster.ts';
import { Plugin } from './plugin-run.ts';
import { ensurePrevious, type Previous } from './previous-release.ts';
import { runWithKubectl } from './run-with-kubectl.ts';
import { apply, LabelHistory, render, rollOut, withAgents, withoutAgents } from './skew-cluster.ts';

const NODES = ['node-1', 'node-2'] as const;
const GUIDE = markedBlocks('docs/upgrade.md');
const NOW = { version: VERSION, image: imageName('agent'), manifests: join(REPO, 'manifests') };

let cluster: Cluster;
let previous: Previous;
let labels: LabelHistory;
let podsAtFirst = '';

const base = ({ manifests }: { readonly manifests: string }) => render(cluster, manifests);

before(
  async () => {
    previous = await ensurePrevious();
    const nodes = [{ name: 'node-1' }, { name: 'node-2', containerd: '1.7', gvisor: '2025' }] as const;
    const name = await laneCluster('skew');
    cluster = await startCluster({ name, nodes, images: ['workload', 'agent'] });
    await Promise.all(cluster.nodes().map((node) => node.load(previous.image)));
    await rollOut(cluster, await base(previous), previous.image.name);
    for (const node of NODES) await provenBy(node, previous.version);
    for (const node of NODES)
      await runPod(
        cluster,
        `on-${node}`,
        evaluationPod(`on-${node}`, { gvisor: true, spec: { nodeName: node } }),
      );
    podsAtFirst = await podsNow();
    labels = new LabelHistory(cluster);
  },
  { timeout: 1_200_000 },
);
after(async () => {
  labels?.close();
  await removeCluster(await laneCluster('skew'));
});

/** Waits until a node is proven by an agent of that version. */
async function provenBy(node: string, version: string): Promise<void> {
  await waitForNode(
    cluster,
    node,
    ({ ready, condition, provenBy: by }) =>
      ready === 'true' && condition === 'True SandboxProven' && by.startsWith(`${version}+`),
    120_000,
  );
}

/** No node said anything but "true" since the last look. */
function assertSteady(): void {
  for (const [node, seen] of Object.entries(labels.take())) assert.deepEqual(seen, ['true'], node);
}

/** The previous release notes no boot, so the label of its proof is withdrawn until the new agent has proven the node. */
async function assertProvenAnew(node: (typeof NODES)[number]): Promise<void> {
  await labels.hears(node, 'true');
  const seen = labels.take();
  assert.deepEqual(seen[node]?.slice(-2), ['false', 'true'], JSON.stringify(seen));
  for (const other of NODES) if (other !== node) assert.deepEqual(seen[other] ?? ['true'], ['true'], other);
}

/** A node that breaks loses its label, gets it back once it is mended, and nothing else happens on the way. */
async function assertJudged(node: (typeof NODES)[number]): Promise<void> {
  assertSteady();
  await breakNode(cluster, cluster.node(node), 'shim-missing');
  await waitForNode(
    cluster,
    node,
    ({ ready, condition }) => `${ready} ${condition}` === 'false False ShimNotFound',
  );
  await labels.hears(node, 'false');
  await healNode(cluster, cluster.node(node));
  await waitForNode(
    cluster,
    node,
    ({ ready, condition }) => `${ready} ${condition}` === 'true True SandboxProven',
  );
  await labels.hears(node, 'true');
  const seen = labels.take();
  assert.deepEqual(seen[node]?.slice(-2), ['false', 'true'], JSON.stringify(seen));
  for (const other of NODES) if (other !== node) assert.deepEqual(seen[other] ?? ['true'], ['true'], other);
}

/** Which pods run where since when, and how often their containers were started anew. */
function podsNow(): Promise<string> {
  const path =
    'jsonpath={range .items[*]}{.metadata.uid} {.spec.nodeName} {.status.phase} {.status.containerStatuses[0].restartCount}{"\\n"}{end}';
  return cluster.kubectl(['get', 'pods', ...NODES.map((node) => `on-${node}`), '-o', path]);
}

const block = (mark: string): string => {
  const found = GUIDE.find((one) => one.mark === mark);
  assert.ok(found !== undefined, `docs/upgrade.md has no block "${mark}"`);
  return found.text;
};

describe('an upgrade from the previous release', () => {
  it('policies first: the old agents write, withdraw and grant under them', async () => {
    await apply(cluster, withoutAgents(await base(NOW)));
    await assertJudged('node-1');
  });

  it('then the manifests with the old image: nothing flaps', async () => {
    await rollOut(cluster, await base(NOW), previous.image.name);
    for (const node of NODES) await provenBy(node, previous.version);
    assertSteady();
  });

  it('half way, one node each: both are judged, by either agent', async () => {
    await apply(cluster, withAgents(await base(NOW), NOW.image, 'one by one'));
    await replaceAgent(cluster, 'node-1', 'peace');
    await provenBy('node-1', NOW.version);
    await provenBy('node-2', previous.version);
    await assertProvenAnew('node-1');
    for (const node of NODES) await assertJudged(node);
  });

  it('half way, the new controller and the new plugin know what old agents tell, and no more', async () => {
    await apply(cluster, withAgents(await base(NOW), NOW.image, 'one by one'));
    await scaleFleet(cluster, 1);
    const rows = await waitFor('the controller to have asked both agents', 120_000, async () => {
      const { nodes } = await readFleet(cluster);
      const seen = nodes.map(({ name, state, version }) => `${name} ${state} ${version}`);
      return nodes.every(({ version, provenAt }) => version !== '' && provenAt !== '') ? seen : undefined;
    });
    assert.deepEqual(rows.sort(), [`node-1 proven ${NOW.version}`, `node-2 proven ${previous.version}`]);
    await removeFleet(cluster);
    const plugin = await Plugin.open(cluster);
    try {
      const { text } = await plugin.ask(['pods', '-n', 'default', '-o', 'wide']);
      assert.match(text, /on-node-1 .*\byes\b/);
      assert.match(text, /on-node-2 .*\?.*the agent has not read the pods of its node/);
    } finally {
      await plugin.close();
    }
    assertSteady();
  });

  it('half way, the new alerts read metrics that old agents do not have: the page names each', async () => {
    const namesIn = (text: string) => new Set(text.match(/\bgvisor_[a-z_]+/g));
    const asked = namesIn(await readFile(join(NOW.manifests, 'components/monitoring/rules.yaml'), 'utf8'));
    const now = namesIn(await readMetrics(cluster, 'node-1'));
    const old = namesIn(await readMetrics(cluster, 'node-2'));
    const absent = [...asked].filter((name) => now.has(name) && !old.has(name)).sort();
    assert.equal(absent.join('\n'), block('absent metrics').trim());
  });

  it('to its end: each node was proven anew, and no pod was lost', async () => {
    await replaceAgent(cluster, 'node-2', 'peace');
    for (const node of NODES) await provenBy(node, NOW.version);
    await assertProvenAnew('node-2');
    assert.equal(await podsNow(), podsAtFirst);
  });
});

describe('the way back to the previous release', () => {
  it('new agents with the old manifests: both nodes are judged', async () => {
    await rollOut(cluster, await base(previous), NOW.image);
    for (const node of NODES) await provenBy(node, NOW.version);
    await assertJudged('node-2');
  });

  it('the old agents with the old manifests: nothing flaps', async () => {
    await rollOut(cluster, await base(previous), previous.image.name);
    for (const node of NODES) await provenBy(node, previous.version);
    assertSteady();
    assert.equal(await podsNow(), podsAtFirst);
  });

  it('stops at a node that a new agent found broken, until the command of the page', async () => {
    await rollOut(cluster, await base(NOW), NOW.image);
    for (const node of NODES) await provenBy(node, NOW.version);
    await breakNode(cluster, cluster.node('node-1'), 'shim-missing');
    await waitForNode(cluster, 'node-1', ({ ready, provenBy: by }) => ready === 'false' && by === '');
    await apply(cluster, withAgents(await base(previous), previous.image.name, 'at once'));
    const refusal = await waitFor('the old agent to refuse', 120_000, async () => {
      const { code, text } = await askAgent(cluster, 'node-1', '/readyz');
      return code === 503 && text.startsWith('the node was proven by') ? text : undefined;
    });
    assert.match(refusal, /^the node was proven by ; this 0\.0\.9\+\w+ says ShimNotFound/);
    await runWithKubectl(cluster, block('accept').replace(/^NODE=.*$/m, 'NODE=node-1'));
    await waitFor('the old agent to be Ready', 60_000, async () =>
      (await askAgent(cluster, 'node-1', '/readyz')).code === 200 ? true : undefined,
    );
    assert.equal(saidOf(await readNode(cluster, 'node-1')).ready, 'false');
    await healNode(cluster, cluster.node('node-1'));
    await provenBy('node-1', previous.version);
    assert.deepEqual(labels.take()['node-2'] ?? ['true'], ['true']);
  });
});

describe('the component enforce over that of the previous release', () => {
  const NAMESPACE = 'evaluations';
  const plain = async () => {
    const words = ['-n', NAMESPACE, 'create', '--dry-run=server', '-f', '-'];
    const { command, args } = cluster.kubectlCommand(words);
    return runAll(command, args, { input: evaluationPod('plain', { gvisor: false }) });
  };
  /** The answer to a plain pod, once it is refused by the new policies or by the old ones. */
  const refusedWith = (words: RegExp) =>
    waitFor(`a plain pod to be refused with ${words}`, 120_000, async () => {
      const { code, stderr } = await plain();
      return code !== 0 && words.test(stderr) ? stderr : undefined;
    });

  it('refuses plain pods at every moment, and leaves behind what the page removes', async () => {
    await cluster.kubectl(['create', 'namespace', NAMESPACE]);
    await cluster.kubectl(['label', 'namespace', NAMESPACE, 'require-gvisor=true']);
    await apply(cluster, withoutAgents(await render(cluster, previous.manifests, ['enforce'])));
    await refusedWith(/runtimeClassName/);
    const upgraded = new AbortController();
    const accepted = countAccepted(upgraded.signal);
    await apply(cluster, withoutAgents(await render(cluster, NOW.manifests, ['enforce'])));
    const admin = await certificateUser(cluster, 'skew-admin', ['system:masters']);
    const inForce = () => settle({ as: (_, call) => admin(call) });
    await inForce();
    const left = 'validatingadmissionpolicy/gvisor-ready-guard-runtimeclass';
    assert.match(await cluster.kubectl(['get', left, '-o', 'name']), /guard-runtimeclass/);
    await runWithKubectl(cluster, block('enforce leftovers'));
    upgraded.abort();
    assert.equal(await accepted, 0, 'plain pods that were accepted meanwhile');
    const gone = await cluster.kubectl(['get', left, '--ignore-not-found', '-o', 'name']);
    assert.equal(gone, '');
    await inForce();
    await cluster.kubectl(['annotate', 'runtimeclass', 'gvisor', 'example.org/written=yes', '--overwrite']);
    const gvisor = evaluationPod('gvisor', { gvisor: true });
    await cluster.kubectl(['-n', NAMESPACE, 'create', '--dry-run=server', '-f', '-'], gvisor);
  });

  /** Asks again and again whether a plain pod is accepted, until told to stop. */
  async function countAccepted(until: AbortSignal): Promise<number> {
    let accepted = 0;
    while (!until.aborted) if ((await plain()).code === 0) accepted++;
    return accepted;
  }
});
