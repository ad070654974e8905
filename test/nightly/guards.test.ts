import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { evaluationPod } from '../../cluster/pods.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { AT_ONCE, overlay, removeEnforcement } from '../e2e/agents.ts';
import { createNamespace, tryCreate } from '../e2e/e2e-cluster.ts';
import { deployFleet, readFleet, removeFleet } from '../e2e/fleet-cluster.ts';
import { useMonitoredCluster, watchAlerts } from '../e2e/monitored-cluster.ts';
import { RecordedPlugin } from '../e2e/recorded-plugin.ts';

const monitored = useMonitoredCluster();
const cluster = () => monitored().cluster;
const { fires, resolves } = watchAlerts(() => monitored().prometheus);
const NAMESPACE = 'evaluations';
const COMPONENTS = ['enforce'] as const;

type Story = {
  readonly what: string;
  readonly alert: string;
  /** Shell commands that do it. */
  readonly fault: string;
  /** What `status` says of it. */
  readonly says: RegExp;
  /** What `check` says. */
  readonly checks: RegExp;
  /** True while it lasts. */
  readonly query: string;
  /** What the runbook says that a name stands for. */
  readonly stands?: readonly [name: string, forName: string];
  /** Whether a pod without gVisor is then let into a namespace that requires it. */
  readonly letsThrough: boolean;
};

const NARROW = { spec: { matchResources: { namespaceSelector: { matchLabels: { team: 'a' } } } } };
const BINDING = 'validatingadmissionpolicybinding gvisor-ready-enforce-pods';
const NO_POLICIES = [
  { op: 'test', path: '/rules/2/resources/0', value: 'validatingadmissionpolicies' },
  { op: 'remove', path: '/rules/2' },
];
const OTHER_CLASS = {
  apiVersion: 'node.k8s.io/v1',
  kind: 'RuntimeClass',
  metadata: { name: 'gvisor' },
  handler: 'runc',
};

const STORIES: readonly Story[] = [
  {
    what: 'a binding is narrowed to a label that nothing has',
    alert: 'GVisorGuardMissing',
    fault: `kubectl patch ${BINDING} --type=merge -p '${JSON.stringify(NARROW)}'`,
    says: /✗ Guards +gvisor-ready-enforce .*matchResources of validatingadmissionpolicybinding\/gvisor-ready-enforce-pods/,
    checks: /✗ A pod without a RuntimeClass would be let into evaluations, as a dry run shows/,
    query: 'gvisor_ready_fleet_guard_missing{guard="gvisor-ready-enforce"} == 1',
    letsThrough: true,
  },
  {
    what: 'the RuntimeClass is made anew with another handler, and the controller restarts',
    alert: 'GVisorGuardMissing',
    fault: [
      'kubectl delete runtimeclass gvisor',
      `echo '${JSON.stringify(OTHER_CLASS)}' | kubectl create -f -`,
      'kubectl rollout restart -n gvisor-ready deployment/gvisor-ready-fleet',
    ].join('\n'),
    says: /✗ Guards +runtimeclass\/gvisor has a handler that the agents do not prove/,
    checks: /✗ The runtimeclass\/gvisor has a handler that the agents do not prove/,
    query: 'gvisor_ready_fleet_guard_missing{guard="runtimeclass/gvisor"} == 1',
    stands: [BINDING, 'runtimeclass gvisor'],
    letsThrough: false,
  },
  {
    what: 'the controller may not list the policies',
    alert: 'GVisorGuardsUnread',
    fault: `kubectl patch clusterrole gvisor-ready-fleet --type=json -p '${JSON.stringify(NO_POLICIES)}'`,
    says: /! Guards +the controller cannot read them: .*403/,
    checks: /! The controller cannot read the guards/,
    query: 'gvisor_ready_fleet_guards_read == 0',
    letsThrough: false,
  },
  {
    what: 'a namespace is deleted, and made again without its label',
    alert: 'GVisorRequirementLifted',
    fault: `kubectl delete namespace ${NAMESPACE}\nkubectl create namespace ${NAMESPACE}`,
    says: /✗ Guards +no longer required in evaluations/,
    checks: /✗ gVisor is no longer required in evaluations/,
    query: 'gvisor_ready_fleet_requirements_lifted > 0',
    letsThrough: true,
  },
];

/** The first commands below "Mitigation" of a runbook. */
async function mitigationOf(alert: string): Promise<string> {
  const text = await readFile(join(REPO, `docs/runbooks/${alert}.md`), 'utf8');
  const [, commands] = /^## Mitigation\n[\s\S]*?^```sh\n([\s\S]*?)^```$/m.exec(text) ?? [];
  return commands ?? assert.fail(`${alert} has no command`);
}

describe('a guard that is weakened is named everywhere, and green after its runbook', () => {
  let plugin: RecordedPlugin;
  /** Of the platform team, who applies as the guides say. */
  let directory: string;
  const shell = (script: string) =>
    run('/bin/sh', ['-euc', script], { cwd: directory, env: plugin.env(), timeoutMs: 240_000 });

  before(async () => {
    plugin = await RecordedPlugin.install(cluster());
    await deployFleet(cluster(), {}, COMPONENTS);
    directory = await overlay(COMPONENTS, AT_ONCE);
    await shell('kubectl apply -k .');
    await createNamespace(cluster(), NAMESPACE, { 'gvisor-ready.dev/require': 'true' });
    await becomesGreen('before any fault');
  });
  after(async () => {
    await cluster().kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found'], undefined, 90_000);
    await removeEnforcement(cluster());
    await removeFleet(cluster());
    await rm(directory, { recursive: true });
    await plugin.remove();
  });

  const letsThrough = async () => {
    const { code } = await tryCreate(
      cluster(),
      NAMESPACE,
      evaluationPod('plain', { gvisor: false }),
      '--dry-run=server',
    );
    return code === 0;
  };
  const alarms = async () => (await readFleet(cluster())).alarms.map(({ reason }) => `GVisor${reason}`);
  const prints = (command: string, pattern: RegExp) =>
    waitFor(command, 120_000, async () => {
      const { text } = await plugin.run(command);
      if (pattern.test(text.replaceAll(/\s+/g, ' '))) return true;
      throw new Error(text);
    });
  const becomesGreen = (when: string) =>
    waitFor(`status to be green ${when}`, 120_000, async () => {
      const { code, text } = await plugin.run('status');
      if (code === 0 && !/Guards/.test(text)) return true;
      throw new Error(text);
    });

  for (const { what, alert, fault, says, checks, query, stands, letsThrough: isOpen } of STORIES)
    it(`${alert}: ${what}`, async (t) => {
      await shell(fault);
      const sinceMs = performance.now();
      const noted = (by: string) =>
        t.diagnostic(`${by} after ${((performance.now() - sinceMs) / 1_000).toFixed(1)} s`);
      const { prometheus } = monitored();
      await waitFor('the fault to have its effect', 30_000, async () => (await letsThrough()) === isOpen);
      await Promise.all([
        prints('status', says).then(() => noted('status')),
        prints('check', checks).then(() => noted('check')),
        waitFor('the page', 120_000, async () => (await alarms()).includes(alert)).then(() => noted('page')),
        waitFor('the metric', 120_000, async () => (await prometheus.query(query)).length > 0).then(() =>
          noted('metric'),
        ),
        fires(alert).then(() => noted('alert')),
      ]);
      const [name = '', forName = ''] = stands ?? [];
      await shell((await mitigationOf(alert)).replace(name, forName));
      await becomesGreen('after the runbook');
      await waitFor('the page to be green', 60_000, async () => !(await alarms()).includes(alert));
      await resolves(alert);
      assert.equal(await letsThrough(), false);
    });
});
