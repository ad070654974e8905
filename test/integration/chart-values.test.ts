import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HELMS, type HelmGroup, renderChart } from './chart-objects.ts';

/** Values that are refused, and what is said of them. */
const REFUSED: readonly (readonly [values: object, says: RegExp])[] = [
  [{ agnet: {} }, /agnet/],
  [{ agent: { resource: {} } }, /resource/],
  [{ settings: { PROOF_INTERVALL: '5m' } }, /PROOF_INTERVALL/],
  [{ settings: { PROOF_INTERVAL: '5 minutes' } }, /PROOF_INTERVAL/],
  [{ settings: { MIN_RUNSC_RELEASE: 20240325.5 } }, /MIN_RUNSC_RELEASE/],
  [{ distribution: 'k3os' }, /distribution/],
  [{ enforce: { allow: ['hostpath'] } }, /allow/],
  [{ enforce: { runtimeClassNames: ["gvisor'"] } }, /runtimeClassNames/],
  [{ networkPolicy: { apiServerPorts: [] } }, /apiServerPorts/],
  [{ networkPolicy: { namespaces: ['Monitoring'] } }, /namespaces/],
  [{ fleet: { settings: { AGENT_GONE: 90 } } }, /AGENT_GONE/],
  [{ enforce: { audit: true } }, /need enforce\.enabled=true/],
  [{ enforce: { inject: true } }, /need enforce\.enabled=true/],
  [{ monitoring: { kubeStateMetrics: true } }, /needs monitoring\.agents=true/],
  [{ monitoring: { fleet: true } }, /needs fleet\.enabled=true/],
];

for (const group of HELMS) {
  describe(`the values, read by ${group}`, () => {
    for (const [values, says] of REFUSED) {
      it(`refuse ${JSON.stringify(values)}`, async () => {
        await assert.rejects(renderChart(group, values), says);
      });
    }

    it('refuse another namespace', async () => {
      const elsewhere = renderChart(group, {}, { namespace: 'default' });
      await assert.rejects(elsewhere, /The namespace must be gvisor-ready, not default/);
    });

    it('reach the pods of the agents', async () => {
      const agent = await podOf(group, 'DaemonSet', {
        image: { repository: 'registry.example.org:5000/gvisor-ready', digest: `sha256:${'0'.repeat(64)}` },
        imagePullSecrets: [{ name: 'registry' }],
        settings: { PROOF_INTERVAL: '5m', REQUIRE_LIMITS: true },
        agent: { nodeSelector: { pool: 'sandboxes' }, tolerations: [], priorityClassName: '' },
      });
      const [{ image, env }] = agent.containers;
      assert.equal(image, `registry.example.org:5000/gvisor-ready@sha256:${'0'.repeat(64)}`);
      assert.deepEqual(env.slice(2), [
        { name: 'PROOF_INTERVAL', value: '5m' },
        { name: 'REQUIRE_LIMITS', value: 'on' },
      ]);
      const { imagePullSecrets, nodeSelector, tolerations, priorityClassName } = agent;
      assert.deepEqual(imagePullSecrets, [{ name: 'registry' }]);
      assert.deepEqual(nodeSelector, { 'kubernetes.io/os': 'linux', pool: 'sandboxes' });
      assert.deepEqual([tolerations, priorityClassName], [[], undefined]);
    });

    it('reach the policy of the agents and that of the uninstall, or leave out both', async () => {
      const policies = await policiesOf(group, { apiServerPorts: [7443] });
      const ports = [{ protocol: 'TCP', port: 7443 }];
      assert.deepEqual(
        policies.map(({ spec }) => spec.egress[0].ports),
        [ports, ports],
      );
      assert.deepEqual(await policiesOf(group, { enabled: false }), []);
    });

    it('reach the pods of the fleet controller, beside its own toleration', async () => {
      const dedicated = { key: 'dedicated', operator: 'Exists' };
      const fleet = { enabled: true, settings: { SETTLE: '30s' }, tolerations: [dedicated] };
      const { containers, tolerations } = await podOf(group, 'Deployment', { fleet });
      assert.deepEqual(containers[0].env, [{ name: 'SETTLE', value: '30s' }]);
      assert.deepEqual(tolerations.slice(1), [dedicated]);
    });
  });
}

type Pod = {
  readonly containers: readonly [{ readonly image: string; readonly env: readonly object[] }];
  readonly imagePullSecrets?: readonly object[];
  readonly nodeSelector?: object;
  readonly tolerations: readonly object[];
  readonly priorityClassName?: string;
};

type Policy = {
  readonly kind: 'NetworkPolicy';
  readonly spec: { readonly egress: readonly [{ readonly ports: readonly object[] }] };
};

/** The network policies that Helm renders. */
async function policiesOf(group: HelmGroup, networkPolicy: object): Promise<readonly Policy[]> {
  const objects = await renderChart(group, { networkPolicy });
  return objects.filter((each): each is typeof each & Policy => each.kind === 'NetworkPolicy');
}

/** The pod of the one object of a kind that Helm renders. */
async function podOf(group: HelmGroup, kind: 'DaemonSet' | 'Deployment', values: object): Promise<Pod> {
  const object = (await renderChart(group, values)).find((each) => each.kind === kind);
  assert.ok(object !== undefined && 'spec' in object);
  return (object.spec as { template: { spec: Pod } }).template.spec;
}
