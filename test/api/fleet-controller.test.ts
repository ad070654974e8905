import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { V1RoleList } from '@kubernetes/client-node';
import { AUDIT_LOG } from '../../cluster/control-plane/control-plane.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { CHART, copyManifests } from '../../hack/chart.ts';
import { REPO } from '../../hack/paths.ts';
import { run, waitFor } from '../../hack/run.ts';
import { readNode } from '../e2e/agents.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { useApiServer } from './api-server.ts';
import { KVM_KEY } from './fleet-objects.ts';
import { until, useFleet } from './fleet-run.ts';

const cluster = useApiServer(['install']);
const SETTLES_QUICKLY = { 'gvisor-ready.dev/settle-seconds': '2' };
type Audited = { readonly verb: string; readonly objectRef?: { resource: string; subresource?: string } };

/** Real writes and watches; decide.test.ts covers when a label is withdrawn, in virtual time. */
describe('the fleet controller on a real API server, with its own token', () => {
  const { names, objects, start, withdrawn, assertStillProven, stateOf } = useFleet(cluster);

  it('withdraws the labels of a node that lost its agent, with condition, event and metrics', async () => {
    await objects().writeStatus('node-1', {}, { [KVM_KEY]: 'true' });
    const run = await start();
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    assert.equal((await stateOf('node-1')).condition, 'Unknown AgentLost');
    assert.equal((await readNode(cluster(), 'node-1')).metadata.labels?.[KVM_KEY], 'false');
    await assertStillProven('node-2', 'node-3');
    const query = ['get', 'events', '--field-selector', 'reason=AgentLost'];
    const event = await waitFor('the event', 10_000, async () => {
      const message = await cluster().kubectl([...query, '-o', 'jsonpath={.items[0].message}']);
      return message || undefined;
    });
    assert.match(
      event,
      /^no agent on this node was Ready for 1 s.* What to do: Find out why the agent's pod/,
    );
    const { body } = await run.metrics.text(run.fleet.view);
    assert.match(body, /^gvisor_ready_fleet_withdrawals_total 1$/m);
    assert.match(body, /^gvisor_ready_fleet_nodes\{status="Unknown",reason="AgentLost"\} 1$/m);
    assert.match(body, /^gvisor_ready_fleet_api_requests_total\{verb="PATCH",code="200"\} 1$/m);
  });

  it('withdraws once with two replicas, which share the circuit breaker', async () => {
    const both = [await start(3_000), await start(3_000)];
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
    await objects().setAgent('node-2', false);
    for (const run of both)
      await until('a paused withdrawal', 30_000, () => run.fleet.view.paused.includes('node-2'));
    await assertStillProven('node-2', 'node-3');
    const bodies = await Promise.all(both.map(({ metrics, fleet }) => metrics.text(fleet.view)));
    const counts = bodies.map(({ body }) =>
      Number(/^gvisor_ready_fleet_withdrawals_total (\d+)$/m.exec(body)?.[1]),
    );
    assert.deepEqual(counts.toSorted(), [0, 1]);
  });

  it('says within 30 s which guards a prune or a rollback takes, a person deletes or weakens, and that Helm puts them back', async () => {
    const { fleet, metrics } = await start();
    const missing = () => fleet.view.guards?.missing.map(({ guard, effect }) => `${guard} ${effect}`);
    const within = (guards: readonly string[]) =>
      until(`the guards "${guards}"`, 30_000, () => missing()?.join() === guards.join());
    const { helm } = await ensureTools(['helm']);
    const release = (...args: readonly string[]) =>
      run(join(helm, 'helm'), [...args, '-n', 'gvisor-ready', '--kubeconfig', cluster().kubeconfig]);
    const chart = join(REPO, CHART);
    await within([]);
    await copyManifests();
    await release('install', 'gvisor-ready', chart, '--take-ownership', '--force-conflicts');
    await release('upgrade', 'gvisor-ready', chart, '--set', 'enforce.enabled=true');
    await cluster().kubectl(['create', 'namespace', 'evaluations']);
    await cluster().kubectl(['label', 'namespace', 'evaluations', 'gvisor-ready.dev/require=true']);
    await within([]);
    const applySet = ['apply', '-n', 'gvisor-ready', '--prune', '--applyset=configmaps/synced'];
    const { command, args } = cluster().kubectlCommand(applySet);
    const env = { ...process.env, KUBECTL_APPLYSET: 'true' };
    const sync = (...files: readonly string[]) =>
      run(command, [...args, ...files.map((file) => `-f=manifests/components/enforce/${file}.yaml`)], {
        cwd: REPO,
        env,
      });
    await sync('pods', 'classes', 'guard-namespace');
    await sync('pods', 'classes');
    await within(['gvisor-ready-guard-namespace absent']);
    await release('rollback', 'gvisor-ready', '1');
    const enforcement = ['enforce', 'enforce-classes', 'guard-namespace'].map(
      (name) => `gvisor-ready-${name} absent`,
    );
    await within(enforcement);
    await cluster().kubectl(['delete', 'validatingadmissionpolicybinding', 'gvisor-ready-agent']);
    const weaker = ['--type=merge', '-p', JSON.stringify({ spec: { failurePolicy: 'Ignore' } })];
    await cluster().kubectl(['patch', 'validatingadmissionpolicy', 'gvisor-ready-node-keys', ...weaker]);
    await within(['gvisor-ready-agent unbound', 'gvisor-ready-node-keys changed', ...enforcement]);
    assert.equal(fleet.view.alarms[0]?.reason, 'GuardMissing');
    const { body } = await metrics.text(fleet.view);
    assert.match(body, /^gvisor_ready_fleet_guard_missing\{guard="gvisor-ready-node-keys"\} 1$/m);
    const { out } = await plugin(['status', '--kubeconfig', cluster().kubeconfig]);
    assert.match(out, /^✗ Guards {6}gvisor-ready-agent has no binding that denies: an agent could write/m);
    await release('rollback', 'gvisor-ready', '2', '--force-conflicts');
    await within([]);
  });

  it('lets one node after the other install, also with two replicas, until one fails', async () => {
    const settleQuickly = [
      '--type=merge',
      '-p',
      JSON.stringify({ metadata: { annotations: SETTLES_QUICKLY } }),
    ];
    await cluster().kubectl([
      'patch',
      '-n',
      'gvisor-ready',
      'daemonset/gvisor-ready-install',
      ...settleQuickly,
    ]);
    const [run] = [await start(), await start()];
    for (const name of names) await objects().addInstaller(name);
    const begun = (...nodes: readonly string[]) =>
      until(`turns of ${nodes}`, 20_000, async () => `${await objects().installing()}` === `${nodes}`);
    const waiting = () =>
      run.fleet.view.rollout?.waiting?.map(({ node, for: what }) => `${node} for ${what}`);
    await begun('node-1');
    await until('the others to wait', 10_000, () => `${waiting()}` === 'node-2 for node-1,node-3 for node-1');
    await objects().endInstaller('node-1', 70);
    await begun('node-1', 'node-2');
    await objects().endInstaller('node-2', 'failed');
    const failure = 'node-3 for node-2, where it failed: it does not boot';
    await until('the failure to be seen', 10_000, () => `${waiting()}` === failure);
    assert.ok(run.fleet.view.alarms.some(({ reason }) => reason === 'InstallationFailed'));
    const restarted = await start();
    await until('its decision', 10_000, () => restarted.fleet.view.rollout?.waiting?.length === 1);
    await begun('node-1', 'node-2');
  });

  it('withdraws nothing during an outage of the API server or right after it', async () => {
    const run = await start();
    await cluster().controlPlane.stopDaemon('kube-apiserver', 'KILL');
    await until('the watches to be down', 20_000, () => !run.fleet.view.upToDate);
    await until('the circuit breaker to open', 5_000, () => run.breaker().includes('ApiServerAway'));
    await cluster().startApiServer();
    await until('the watches to be up', 60_000, () => run.fleet.view.upToDate);
    await until('the circuit breaker to close', 20_000, () => run.breaker().length === 0);
    await assertStillProven(...names);
    await objects().setAgent('node-1', false);
    await withdrawn('node-1');
  });

  it('has used each of its rights by now', async () => {
    const log = await readFile(cluster().controlPlane.path(AUDIT_LOG), 'utf8');
    const own = log
      .split('\n')
      .filter((line) => line.includes('serviceaccount:gvisor-ready:gvisor-ready-fleet"'));
    const used = own.map((line) => {
      const { verb, objectRef } = JSON.parse(line) as Audited;
      return `${verb} ${[objectRef?.resource, objectRef?.subresource].filter(Boolean).join('/')}`;
    });
    const roles = await cluster().kubectl(['get', 'clusterroles,roles', '-n', 'gvisor-ready', '-o', 'json']);
    const rights = (JSON.parse(roles) as V1RoleList).items
      .filter(({ metadata }) => metadata?.name === 'gvisor-ready-fleet')
      .flatMap(({ rules = [] }) => rules)
      .flatMap(({ resources = [], verbs }) =>
        resources.flatMap((each) => verbs.map((verb) => `${verb} ${each}`)),
      );
    assert.ok(rights.length > 10, `${rights}`);
    // The policies ask for manage-gvisor-readiness.
    assert.deepEqual(
      rights.filter((right) => !used.includes(right) && !right.includes('gvisor')),
      [],
    );
  });
});
