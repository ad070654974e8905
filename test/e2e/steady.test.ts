import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { breakNode, healNode } from '../../hack/cluster/break-node.ts';
import { AUDIT_LOG } from '../../hack/cluster/control-plane.ts';
import { RUNSC, SHIM } from '../../hack/cluster/node.ts';
import { waitFor } from '../../hack/run.ts';
import { evaluationPod, runPod } from '../../hack/story.ts';
import { touch } from '../integration/outside-agent.ts';
import { agentOn, deployWith, onDaemonSet, readNode, saidOf, waitForNode } from './agents.ts';
import { deletePods, useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const TIMES = 10;
const NODES = ['node-1', 'node-2'] as const;
const PODS = ['load-1', 'load-2', 'load-3', 'load-4'];
const DAEMON_SET = ['-n', 'gvisor-ready'] as const;
const USER = 'system:serviceaccount:gvisor-ready:gvisor-ready-agent';

type Said = ReturnType<typeof saidOf>;
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
  const now = saidOf(await readNode(cluster(), node));
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
      const [{ name }, { claim }] = await Promise.all([
        agentOn(cluster(), 'node-1'),
        readNode(cluster(), 'node-1').then(saidOf),
      ]);
      await cluster().kubectl([
        'delete',
        'pod',
        ...DAEMON_SET,
        name,
        '--wait=false',
        ...(time % 2 ? ['--grace-period=0', '--force'] : []),
      ]);
      await waitForNode(cluster(), 'node-1', (said) => said.claim !== claim);
      await assertSteady('node-1');
    }
  });

  it(`while containerd restarts ${TIMES} times`, async () => {
    const node = cluster().node('node-2');
    for (let time = 0; time < TIMES; time++) {
      await node.restart('containerd');
      await assertSteady(node.name);
    }
    await provenAgain('node-2');
  });

  it(`while runsc and the shim are replaced ${TIMES} times, as an upgrade does`, async () => {
    const { machine } = cluster().node('node-1');
    for (let time = 0; time < TIMES; time++) {
      for (const program of [SHIM, RUNSC]) {
        const script = `cp ${program} ${program}.new && mv ${program}.new ${program}`;
        await machine.run(['sh', '-c', script]);
      }
      await assertSteady('node-1');
    }
    await provenAgain('node-1');
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
      await provenAgain(node);
      await assertSteady(node);
    }
  });

  it('while a new version of the agent is rolled out', async () => {
    await onDaemonSet(cluster(), ['set', 'env'], ['LOG_LEVEL=debug']);
    await onDaemonSet(cluster(), ['rollout', 'status'], ['--timeout=90s']);
    for (const node of NODES) await assertSteady(node);
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
    for (const node of NODES) await provenAgain(node);
    const from = (await agentRequests()).length;
    for (const node of [...NODES, ...NODES]) await provenAgain(node);
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

type Audited = {
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
};

/** Every request of agents that the API server's audit log holds, a watch counted once. */
async function agentRequests(): Promise<Audited[]> {
  const text = await readFile(cluster().hub.path(AUDIT_LOG), 'utf8');
  const lines = text.split('\n').filter((line) => line.includes(USER));
  const records = lines.map((line) => JSON.parse(line) as Audited & { readonly stage: string });
  return records.filter(
    ({ verb, stage, user }) => user.username === USER && (verb === 'watch') === (stage === 'ResponseStarted'),
  );
}

/** Waits for a proof that began after now: the agent looks when a file changes. */
async function provenAgain(node: string): Promise<void> {
  const { name } = await agentOn(cluster(), node);
  const report = async () => {
    const script = "fetch('http://localhost:9477/report').then(async r => console.log(await r.text()))";
    const words = ['exec', ...DAEMON_SET, name, '--', '/usr/local/bin/node', '-e', script];
    return JSON.parse(await cluster().kubectl(words)) as { provenAt?: string; look: { at: string } };
  };
  const since = new Date();
  await touch(cluster().node(node));
  await waitFor(`a proof of ${node}`, 60_000, async () => {
    const { provenAt = '', look } = await report();
    return new Date(provenAt) > since && new Date(look.at) > since ? true : undefined;
  });
}
