import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { evaluationStartMs, touch } from '../../cluster/node/outside-agent.ts';
import { waitFor } from '../../hack/run.ts';
import type { Report, Status } from '../../lib/report/report.ts';
import {
  agentOn,
  DOMAIN,
  getFromAgentForwarded,
  readinessOf,
  readNode,
  readReport,
  waitForNode,
} from '../e2e/agents.ts';
import { useCluster } from '../e2e/e2e-cluster.ts';
import { ATTACKS, type AttackPod, assertEffective } from './tenant-attacks.ts';
import { assertSanitized, readOutputs } from './tenant-outputs.ts';
import { execIn, idsOf, manifestOf, TENANT_NODE, Tenant } from './tenant-pods.ts';

const cluster = useCluster();
/** Limit for an evaluation while pods try to prolong it (measured: under 1 s); one of three must meet it. */
const MAX_EVALUATION_MS = 8_000;

/** The report of an evaluation that began after this call and in which nothing timed out. */
async function evaluateAgain(): Promise<Report> {
  const touchedMs = Date.now();
  await touch(cluster().node(TENANT_NODE));
  return waitFor('another evaluation', 60_000, async () => {
    const report = await readReport(cluster(), TENANT_NODE);
    const { proof, evaluation } = report;
    const isLate =
      ['slow', 'interrupted'].includes(proof.kind) || evaluation.verdict.reason === 'CheckTimedOut';
    return evaluationStartMs(report) >= touchedMs && !isLate ? report : undefined;
  });
}

/** The parts of a report that do not change from proof to proof. */
function stableParts({ verdict, evaluation, findings, facts }: Report) {
  const normalize = (text: string) => text.replace(/[0-9a-f]{64}/g, 'ID').replace(/\d+(\.\d+)?/g, 'N');
  return {
    verdict: `${verdict.status} ${verdict.reason} ${normalize(verdict.message)}`,
    evaluation: evaluation.verdict.status,
    findings: findings.map(({ check, status, message }) => `${check} ${status} ${normalize(message)}`),
    facts,
  };
}

/** The Node's labels of the agents' domain, and its condition. */
async function nodeState() {
  const node = await readNode(cluster(), TENANT_NODE);
  const labels = Object.entries(node.metadata.labels).filter(([key]) => key.startsWith(DOMAIN));
  return { labels: Object.fromEntries(labels), ...readinessOf(node) };
}

describe('a tenant with the role admin in a namespace at Pod Security "baseline"', () => {
  let tenant: Tenant;
  let initial: Awaited<ReturnType<typeof nodeState>>;
  let baseline: ReturnType<typeof stableParts>;
  let agent: Awaited<ReturnType<typeof agentOn>>;

  before(async () => {
    tenant = new Tenant(cluster(), 'tenant');
    await tenant.begin();
    await waitForNode(cluster(), TENANT_NODE, ({ ready }) => ready === 'true');
    baseline = stableParts(await evaluateAgain());
    initial = await nodeState();
    agent = await agentOn(cluster(), TENANT_NODE);
  });

  after(() => tenant.end());

  it('has no further permissions', async () => {
    await assert.rejects(
      tenant.kubectl(['label', 'node', TENANT_NODE, `${DOMAIN}/ready=false`, '--overwrite']),
      /Forbidden|forbidden/,
    );
    await assert.rejects(
      tenant.kubectl(['exec', '-n', 'gvisor-ready', 'ds/gvisor-ready-agent', '--', 'true']),
      /forbidden/,
    );
    const container = { securityContext: { privileged: true } };
    const host = manifestOf({ script: 'true', container }, '', 0);
    await assert.rejects(tenant.create([host]), /violates PodSecurity "baseline/);
  });

  for (const [number, attack] of ATTACKS.entries()) {
    const { what, pods } = attack;
    it(`cannot affect the agent with ${what}`, async (t) => {
      t.after(() => tenant.remove(number));
      await tenant.create(pods.map((pod, index) => manifestOf(pod, agent.address, number, index)));
      const ends = pods.some((pod) => pod.ends);
      const running = await waitFor('the containers to run', 90_000, async () => {
        const started = (await tenant.pods(number)).filter(({ status }) =>
          status.containerStatuses?.every(({ state, restartCount }) =>
            ends ? restartCount > 0 : 'running' in state,
          ),
        );
        return started.length === pods.length ? started : undefined;
      });
      const printed = await execIn(tenant, pods, running, number);
      await waitFor('the attack to take effect', 30_000, async () => {
        const output = printed + (await tenant.logs(running));
        await assertEffective(attack, { node: cluster().node(TENANT_NODE), ids: idsOf(running), output });
        return true;
      });
      let report = await evaluateAgain();
      for (let more = 0; more < 2 && report.evaluation.durationMs >= MAX_EVALUATION_MS; more++)
        report = await evaluateAgain();
      const containers = (await tenant.pods(number)).flatMap(({ status }) => status.containerStatuses ?? []);
      if (!ends)
        assert.deepEqual(
          containers.map(({ restartCount }) => restartCount),
          pods.map(() => 0),
          'a container of the attack has ended',
        );
      assert.deepEqual(stableParts(report), baseline);
      assert.ok(
        report.evaluation.durationMs < MAX_EVALUATION_MS,
        `the evaluation took ${report.evaluation.durationMs} ms`,
      );
      assert.deepEqual(await nodeState(), initial);
      assertSanitized(await readOutputs(cluster(), TENANT_NODE));
      assert.equal((await agentOn(cluster(), TENANT_NODE)).restarts, agent.restarts);
    });
  }
});

/**
 * Overwrites the argv of the pod's first process with a title, a format of printf. Root of a container may write to that
 * memory if both share the pod's PID namespace and have the same capabilities. A long title extends into the environment.
 * Source: https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c (get_mm_cmdline), proc_pid_stat(5) (arg_start)
 */
const retitle = (title: string) => `
set -- $(cat /proc/1/stat)
shift 47
printf '${title}\\0' | dd of=/proc/1/mem bs=1 seek=$1 conv=notrunc 2>/dev/null || exit 1
forever`;

/** The agent inspects a sandbox once, perhaps before its title changes, so several pods may be needed. */
const MAX_ATTEMPTS = 20;

/** A pod outside gVisor whose first process has this title. */
const titled = (name: string, title: string): AttackPod => ({
  name,
  // The same user for the container and the first process, regardless of the image of the latter.
  spec: { shareProcessNamespace: true, securityContext: { runAsUser: 0 } },
  keepsCapabilities: true,
  script: retitle(title),
});

type Violation = NonNullable<Status['pods']>['violating'][number];

/** The tenant's pods in a report that violate the requirement. */
function violationsIn(report: string, { namespace }: Tenant): readonly Violation[] {
  const { pods } = JSON.parse(report) as Status;
  return (pods?.violating ?? []).filter((pod) => pod.namespace === namespace);
}

/** Creates pods with this title until the agent reports one with matching evidence. */
async function waitForViolation(
  tenant: Tenant,
  { name, title, evidence }: { readonly name: string; readonly title: string; readonly evidence: RegExp },
): Promise<Violation> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const names = [`${name}-${attempt}-a`, `${name}-${attempt}-b`];
    await tenant.create(names.map((each) => manifestOf(titled(each, title), '', attempt)));
    const violations = await waitFor('the agent to report the pods', 60_000, async () => {
      const { text } = await getFromAgentForwarded(cluster(), TENANT_NODE, '/report');
      const all = violationsIn(text, tenant).filter((pod) => names.includes(pod.name));
      return all.length === names.length ? all : undefined;
    });
    const found = violations.find((pod) => evidence.test(pod.evidence));
    if (found !== undefined) return found;
    await tenant.remove(attempt);
  }
  throw new Error('The agent has read no title of a tenant');
}

describe("a tenant that changes the title of a pod's first process, in a namespace that requires gVisor", () => {
  let tenant: Tenant;

  before(async () => {
    tenant = new Tenant(cluster(), 'tenant-titles');
    await tenant.begin({ 'gvisor-ready.dev/require': 'true' });
  });

  after(() => tenant.end());

  it("cannot hide a pod with the title of gVisor's sentry", async () => {
    const { evidence } = await waitForViolation(tenant, {
      name: 'sentry',
      title: 'runsc-sandbox\\0boot\\0',
      evidence: /runsc-sandbox/,
    });
    assert.match(evidence, /"runsc-sandbox", and the runtime reports the host's own PID \d+$/);
  });

  it('cannot inject markup or control sequences into metrics, page, report, log, event or terminal', async () => {
    const violation = await waitForViolation(tenant, {
      name: 'injects',
      title:
        '\\033[31m\\302\\2332J\\342\\200\\256<script>alert(1)</script>\\ngvisor_ready_node_status{status="True"} 0',
      evidence: /<script>/,
    });
    const outputs = await waitFor('an event on the pod, and metrics of the same moment', 30_000, async () => {
      const current = await readOutputs(cluster(), TENANT_NODE);
      assert.ok(current.events.some((message) => message.includes('<script>')));
      const line = `gvisor_ready_unsandboxed_pods ${violationsIn(current.report, tenant).length}`;
      assert.ok(current.metrics.split('\n').includes(line), line);
      return current;
    });
    const { page, log, sentences, terminal } = outputs;
    for (const text of [page, log, sentences.join(''), terminal]) assert.match(text, /<script>alert\(1\)/);
    assert.match(terminal, new RegExp(`tenant-titles/${violation.name}`));
    assertSanitized(outputs);
  });
});
