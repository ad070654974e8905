import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { AUDIT_LOG } from '../../cluster/control-plane/control-plane.ts';
import { breakNode, healNode } from '../../cluster/faults/break-node.ts';
import { ensureImage, type Image } from '../../cluster/images.ts';
import { evaluationPod, runPod } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { deployWith, onDaemonSet, readinessOf, readNode, waitForNode } from './agents.ts';
import { provenAgain, replaceAgent, upgradeInPlace } from './disturb.ts';
import { deletePods, useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const TIMES = 10;
const NODES = ['node-1', 'node-2'] as const;
const PODS = ['load-1', 'load-2', 'load-3', 'load-4'];
const USER = 'system:serviceaccount:gvisor-ready:gvisor-ready-agent';

type Said = ReturnType<typeof readinessOf>;
const atFirst = new Map<string, Said>();
let podsAtFirst = '';

/** Which pods run where since when, and how often their containers were started anew. */
function podsNow(): Promise<string> {
  const path =
    'jsonpath={range .items[*]}{.metadata.uid} {.spec.nodeName} {.status.phase} {.status.startTime} {.status.containerStatuses[0].restartCount}{"\\n"}{end}';
  return cluster().kubectl(['get', 'pods', ...PODS, '-o', path]);
}

/** Nothing was withdrawn, not for a moment: the time of the condition's last transition has not moved. */
async function assertSteady(node: string): Promise<void> {
  const now = readinessOf(await readNode(cluster(), node));
  const { since, condition } = atFirst.get(node) ?? {};
  assert.deepEqual([now.ready, now.condition, now.since], ['true', condition, since]);
}

describe('the label of a proven node, with gVisor pods running, does not flap', () => {
  before(async () => {
    for (const node of NODES)
      atFirst.set(node, await waitForNode(cluster(), node, ({ ready }) => ready === 'true'));
    for (const [index, pod] of PODS.entries()) {
      const spec = { nodeName: NODES[index % NODES.length] };
      await runPod(cluster(), pod, evaluationPod(pod, { gvisor: true, spec }));
    }
    podsAtFirst = await podsNow();
  });
  after(async () => {
    await deletePods(cluster(), ...PODS);
    await deployWith(cluster());
  });

  it(`while ${TIMES} agents end and others take their place`, async () => {
    for (let time = 0; time < TIMES; time++) {
      await replaceAgent(cluster(), 'node-1', time % 2 ? 'force' : 'peace');
      await assertSteady('node-1');
    }
  });

  it(`while containerd restarts ${TIMES} times`, async () => {
    const node = cluster().node('node-2');
    for (let time = 0; time < TIMES; time++) {
      await node.restart('containerd');
      await assertSteady(node.name);
    }
    await provenAgain(cluster(), 'node-2');
    await assertSteady('node-2');
  });

  it(`while runsc and the shim are replaced ${TIMES} times, as an upgrade does`, async () => {
    for (let time = 0; time < TIMES; time++) {
      await upgradeInPlace(cluster().node('node-1'));
      await assertSteady('node-1');
    }
    await provenAgain(cluster(), 'node-1');
    await assertSteady('node-1');
  });

  it('while the API server is down and a node breaks and is mended', async () => {
    const [one, two] = [cluster().node('node-1'), cluster().node('node-2')];
    await breakNode(cluster(), one, 'api-down');
    await breakNode(cluster(), two, 'shim-missing');
    await healNode(cluster(), two, 'shim-missing');
    await one.restart('containerd');
    await healNode(cluster(), one, 'api-down');
    await cluster().waitForNodes();
    for (const node of NODES) {
      await provenAgain(cluster(), node);
      await assertSteady(node);
    }
  });

  it('while the agent is upgraded to another image, and gVisor pods come and go all the time', async () => {
    const { name: image } = await loadNext();
    const upgrade = new AbortController();
    const work = runPods(upgrade.signal);
    await onDaemonSet(cluster(), ['set', 'image'], [`gvisor-ready-agent=${image}`]);
    await onDaemonSet(cluster(), ['rollout', 'status'], ['--timeout=270s']);
    upgrade.abort();
    assert.ok((await work) > 0);
    for (const node of NODES) {
      await assertSteady(node);
      const { provenBy } = await waitForNode(cluster(), node, (said) => said.provenBy.startsWith('0.2.0+'));
      assert.match(provenBy, /^0\.2\.0\+/);
    }
  });

  it('and no gVisor pod was lost or started anew by any of this', async () => {
    for (const node of NODES) await cluster().node(node).restart('kubelet');
    await cluster().waitForNodes([...NODES]);
    for (const pod of PODS)
      await waitFor(`the kubelet to answer for ${pod}`, 30_000, async () =>
        (await cluster().kubectl(['exec', pod, '--', 'echo', 'here'])) === 'here\n' ? true : undefined,
      );
    assert.equal(await podsNow(), podsAtFirst);
  });
});

describe('what agents ask of the API server', () => {
  it('is a watch about once an hour, and nothing else, while nothing changes', async () => {
    for (const node of NODES) await provenAgain(cluster(), node);
    const from = (await agentRequests()).length;
    for (const node of [...NODES, ...NODES]) await provenAgain(cluster(), node);
    const asked = (await agentRequests()).slice(from);
    assert.deepEqual(
      asked.map(({ verb, requestURI }) => `${verb} ${requestURI}`),
      [],
      'a proof that changes nothing costs no request',
    );
    const watches = (await agentRequests()).filter(({ verb }) => verb === 'watch');
    for (const { requestURI } of watches) {
      const seconds = Number(new URL(`https://api${requestURI}`).searchParams.get('timeoutSeconds'));
      assert.ok(seconds >= 3_000, requestURI);
    }
    assert.ok(watches.length > 0);
  });
});

/** Puts an image of a newer agent on every node. */
async function loadNext(): Promise<Image> {
  const image = await ensureImage('agent-next');
  await Promise.all(
    cluster()
      .nodes()
      .map((node) => node.load(image)),
  );
  return image;
}

/** Runs one gVisor pod after the other, wherever the scheduler wants, until it is told to stop; gives how many ran. */
async function runPods(until: AbortSignal): Promise<number> {
  let ran = 0;
  for (; !until.aborted; ran++) {
    const name = `passing-${ran}`;
    await runPod(cluster(), name, evaluationPod(name, { gvisor: true }), 30_000);
    await deletePods(cluster(), name);
  }
  return ran;
}

type Audited = {
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
};

/** Every request of agents that the API server's audit log holds, a watch counted once. */
async function agentRequests(): Promise<Audited[]> {
  const text = await readFile(cluster().controlPlane.path(AUDIT_LOG), 'utf8');
  const lines = text.split('\n').filter((line) => line.includes(USER));
  const records = lines.map((line) => JSON.parse(line) as Audited & { readonly stage: string });
  return records.filter(
    ({ verb, stage, user }) => user.username === USER && (verb === 'watch') === (stage === 'ResponseStarted'),
  );
}
