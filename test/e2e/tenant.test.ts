import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Report } from '../../agent/report.ts';
import { evaluationPod } from '../../cluster/story.ts';
import { waitFor } from '../../hack/run.ts';
import { touch } from '../integration/outside-agent.ts';
import { agentOn, askAgent, DOMAIN, readMetrics, readNode, saidOf, waitForNode } from './agents.ts';
import { useCluster } from './e2e-cluster.ts';
import { TRIES, type TryPod } from './tenant-tries.ts';

const cluster = useCluster();
const NODE = 'node-1';
const NAMESPACE = 'tenant';
const USER = 'tenant-admin';
/** A look is short also while pods try to make it long (measured: under 1 s); one of three, where other tests run beside it. */
const MOST_LOOK_MS = 8_000;
/** The agent's own address. */
let agentIp = '';

const kubectl = (args: readonly string[], input?: string, timeoutMs?: number) =>
  cluster().kubectl(args, input, timeoutMs);
const asTenant = (args: readonly string[], input?: string) =>
  kubectl([`--as=${USER}`, '-n', NAMESPACE, ...args], input, 90_000);

async function readReport(): Promise<Report> {
  const { code, text } = await askAgent(cluster(), NODE, '/report');
  assert.equal(code, 200, text);
  return JSON.parse(text) as Report;
}

/** The report of a look that began after this call, and in which nothing was late. */
async function lookAgain(): Promise<Report> {
  const touchedMs = Date.now();
  await touch(cluster().node(NODE));
  return waitFor('another look', 60_000, async () => {
    const report = await readReport();
    const { at, durationMs, verdict } = report.look;
    const isNew = Date.parse(at) - durationMs >= touchedMs;
    const isLate = ['slow', 'interrupted'].includes(report.proof.kind) || verdict.reason === 'CheckTimedOut';
    return isNew && !isLate ? report : undefined;
  });
}

type RawPod = {
  readonly status: {
    readonly containerStatuses?: readonly { readonly state: object; readonly restartCount: number }[];
  };
};

/** What a report says, without what differs from proof to proof. */
function saying({ verdict, look, findings, facts }: Report) {
  const plain = (text: string) => text.replace(/[0-9a-f]{64}/g, 'ID').replace(/\d+(\.\d+)?/g, 'N');
  return {
    verdict: `${verdict.status} ${verdict.reason} ${plain(verdict.message)}`,
    look: look.verdict.status,
    findings: findings.map(({ check, status, message }) => `${check} ${status} ${plain(message)}`),
    facts,
  };
}

async function podsOf(number: number): Promise<readonly RawPod[]> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=try%3D${number}`;
  return (JSON.parse(await cluster().get(path)) as { items: readonly RawPod[] }).items;
}

/** The Node's own labels of the agents' domain, and its condition. */
async function written() {
  const node = await readNode(cluster(), NODE);
  const labels = Object.entries(node.metadata.labels).filter(([key]) => key.startsWith(DOMAIN));
  return { labels: Object.fromEntries(labels), ...saidOf(node) };
}

/** One of a try's pods, by the number of the try. */
function manifestOf(pod: TryPod, number: number, index = 0): object {
  const {
    name = `try-${number}-${index}`,
    labels = {},
    annotations = {},
    gvisor = false,
    script,
    container,
  } = pod;
  const plain = JSON.parse(
    evaluationPod(name, {
      gvisor,
      spec: { nodeName: NODE, restartPolicy: 'Always' },
      // Without capabilities, so that an agent without any may look into its processes.
      container: {
        securityContext: { capabilities: { drop: ['ALL'] } },
        ...(script === undefined ? {} : { command: ['sh', '-c', script] }),
        env: [{ name: 'AGENT', value: agentIp }],
        ...container,
      },
    }),
  );
  return {
    ...plain,
    metadata: { ...plain.metadata, annotations, labels: { ...labels, try: String(number) } },
  };
}

describe('a tenant with every right in a namespace at Pod Security "baseline"', () => {
  let said: Awaited<ReturnType<typeof written>>;
  let baseline: ReturnType<typeof saying>;
  let restarts = 0;

  before(async () => {
    await kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found']);
    await kubectl(['create', 'namespace', NAMESPACE]);
    await kubectl(['label', 'namespace', NAMESPACE, 'pod-security.kubernetes.io/enforce=baseline']);
    await kubectl(['create', 'rolebinding', USER, '-n', NAMESPACE, '--clusterrole=admin', `--user=${USER}`]);
    await waitForNode(cluster(), NODE, ({ ready }) => ready === 'true');
    baseline = saying(await lookAgain());
    said = await written();
    const agent = await agentOn(cluster(), NODE);
    restarts = agent.restarts;
    agentIp = agent.address;
  });

  after(() => kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found'], undefined, 120_000));

  it('is one whom the API server lets do no more than that', async () => {
    await assert.rejects(
      asTenant(['label', 'node', NODE, `${DOMAIN}/ready=false`, '--overwrite']),
      /Forbidden|forbidden/,
    );
    await assert.rejects(
      asTenant(['exec', '-n', 'gvisor-ready', 'ds/gvisor-ready-agent', '--', 'true']),
      /forbidden/,
    );
    const host = manifestOf({ script: 'true', container: { securityContext: { privileged: true } } }, 0);
    await assert.rejects(
      asTenant(['create', '-f', '-'], JSON.stringify(host)),
      /violates PodSecurity "baseline/,
    );
  });

  for (const [number, { what, pods }] of TRIES.entries()) {
    it(`changes nothing with ${what}`, async (t) => {
      const items = pods.map((pod, index) => manifestOf(pod, number, index));
      // Not waited for: what of it still runs beside the next try is a try as well.
      const remove = ['delete', 'pods', '-l', `try=${number}`, '--grace-period=1', '--wait=false'];
      t.after(() => asTenant(remove));
      await asTenant(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
      const ends = pods.some((pod) => pod.ends);
      await waitFor('the containers to run', 90_000, async () => {
        const seen = (await podsOf(number)).filter(({ status }) =>
          status.containerStatuses?.every(({ state, restartCount }) =>
            ends ? restartCount > 0 : 'running' in state,
          ),
        );
        return seen.length === items.length ? true : undefined;
      });
      let report = await lookAgain();
      for (let more = 0; more < 2 && report.look.durationMs >= MOST_LOOK_MS; more++)
        report = await lookAgain();
      const containers = (await podsOf(number)).flatMap(({ status }) => status.containerStatuses ?? []);
      if (!ends)
        assert.deepEqual(
          containers.map(({ restartCount }) => restartCount),
          items.map(() => 0),
          'a container of the try has ended',
        );
      assert.deepEqual(saying(report), baseline);
      assert.ok(report.look.durationMs < MOST_LOOK_MS, `the look took ${report.look.durationMs} ms`);
      assert.deepEqual(await written(), said);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      assert.doesNotMatch(JSON.stringify(await written()), /[\u0000-\u001f<>]/);
      const lines = (await readMetrics(cluster(), NODE)).split('\n');
      assert.deepEqual(
        lines.filter((line) => !/^(#.*|[a-z_]+(\{([a-z]+="[^"\n]*",?)*\})? \S+|)$/.test(line)),
        [],
      );
      assert.equal(lines.filter((line) => line.startsWith('gvisor_node_status{status="True"} ')).length, 1);
      assert.equal((await agentOn(cluster(), NODE)).restarts, restarts);
    });
  }
});
