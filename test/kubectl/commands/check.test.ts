import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type FakeApi, forbidden, refusal } from '../fake-api.ts';
import {
  ADMISSION,
  AGENT_PODS,
  addHandler,
  CLASS_LIST,
  DAEMON_SET_PATH,
  daemonSet,
  FLEET_PATH,
  FLEET_VIEW,
  fleetDeployment,
  KVM_CLASS,
  MAIN_CLASS,
  openFleet,
  POLICIES,
  runCheck,
  setNode,
  setReport,
  TRY_POD,
  viewOf,
} from '../fleet.ts';
import {
  agentObject,
  agentStatus,
  kvmReport,
  LABEL_DOMAIN,
  nodeObject,
  podObject,
  UNJUDGED,
  withHandler,
} from '../fleet-objects.ts';

const EVAL = '/api/v1/namespaces/eval/pods';
const NAMESPACES = '/api/v1/namespaces';

const namespace = (name: string, value: string) => ({
  metadata: { name, labels: { 'gvisor-ready.dev/require': value } },
});
/** A class that selects a node by its name, not the proven ones. */
const classOf = (node: string, tolerations: readonly object[] = []) => ({
  metadata: { name: 'gvisor' },
  handler: 'runsc',
  scheduling: { nodeSelector: { 'kubernetes.io/hostname': node }, tolerations },
});
/** Agents that taint nodes, and a class that selects a node by its name. */
function tainting(api: FakeApi, tolerations: readonly object[] = []): void {
  api.stubs.set(DAEMON_SET_PATH, daemonSet('', 3, 3, 'on'));
  api.list(CLASS_LIST, [classOf('node-2', tolerations)]);
}
const NOT_READY = { key: `${LABEL_DOMAIN}/not-ready`, effect: 'NoSchedule' };
/** Two handlers that are proven wherever containerd has them. */
function soundHandlers(api: FakeApi): void {
  addHandler(api);
  setNode(api, withHandler(nodeObject('node-2'), 'runsc-kvm', 'true'));
  setReport(api, 'node-2', agentStatus('node-2', {}, { handlers: [kvmReport()] }));
}
function keptInFiles(api: FakeApi): void {
  for (const resource of ['validatingadmissionpolicies', 'validatingadmissionpolicybindings'])
    api.list(`${ADMISSION}/${resource}`, []);
}
const UNJUDGED_LINE =
  'unknown: Nodes: proven on 2 of 3 nodes that should run gVisor; 1 not judged yet; not proven: node-2 (NotJudged)';
const without = (name: string) => (api: FakeApi) =>
  api.list(
    `${ADMISSION}/validatingadmissionpolicies`,
    POLICIES.filter(({ metadata }) => metadata.name !== name),
  );
const rename =
  (from: string, to: string, where = /./) =>
  (api: FakeApi) => {
    for (const path of ['validatingadmissionpolicies', 'validatingadmissionpolicybindings']) {
      const { items } = api.stubs.get(`${ADMISSION}/${path}`) as { items: (typeof POLICIES)[number][] };
      const renamed = (item: object) => JSON.parse(JSON.stringify(item).replaceAll(from, to)) as object;
      api.list(
        `${ADMISSION}/${path}`,
        items.map((item) => (where.test(item.metadata.name) ? renamed(item) : item)),
      );
    }
  };

/** As the component inject answers. */
function injected(body: string): object {
  const { spec } = JSON.parse(body) as { readonly spec: { readonly volumes?: object } };
  if (spec.volumes !== undefined) return refusal(403, 'violates PodSecurity "baseline:latest"');
  return { spec: { ...spec, runtimeClassName: 'gvisor' } };
}

type Case = readonly [change: (api: FakeApi) => unknown, ...lines: readonly string[]];

/** Changes of a sound fleet, and the starts of the lines that then do not pass. */
const CASES: Readonly<Record<string, Case>> = {
  'a sound fleet': [() => {}],
  'an old Kubernetes': [
    (api) => api.stubs.set('/version', { major: '1', minor: '29+', gitVersion: 'v1.29.1' }),
    'fail: The API server is v1.29.1: the policies need 1.30 or newer',
  ],
  'no RuntimeClass': [
    (api) => api.list(CLASS_LIST, []),
    'fail: No RuntimeClass has the handler "runsc", which the agents prove',
    'fail: The runtimeclass/gvisor is not installed: pods that name it are refused',
  ],
  'a RuntimeClass without selector': [
    (api) => api.list(CLASS_LIST, [{ metadata: { name: 'gvisor' }, handler: 'runsc' }]),
    'fail: The RuntimeClass "gvisor" has the handler "runsc" and no node selector',
    'fail: The runtimeclass/gvisor does not select the nodes where its handler is proven',
  ],
  'a RuntimeClass of a pool with proven nodes, where no taint keeps pods from others': [
    (api) => api.list(CLASS_LIST, [classOf('node-2')]),
    'fail: The RuntimeClass "gvisor" has the handler "runsc" and no node selector',
    'fail: The runtimeclass/gvisor does not select the nodes where its handler is proven',
  ],
  'a RuntimeClass of a pool with proven nodes': [tainting],
  'a RuntimeClass of a pool with a tainted node': [
    (api) => {
      tainting(api);
      setNode(api, nodeObject('node-2', { ...UNJUDGED, spec: { taints: [NOT_READY] } }));
    },
    UNJUDGED_LINE,
  ],
  'a RuntimeClass of a pool with a node without the taint': [
    (api) => {
      tainting(api);
      setNode(api, nodeObject('node-2', UNJUDGED));
    },
    'fail: The RuntimeClass "gvisor" has the handler "runsc" and no node selector',
    UNJUDGED_LINE,
  ],
  'a RuntimeClass of a pool that tolerates the taint': [
    (api) => tainting(api, [{ operator: 'Exists' }]),
    'fail: The RuntimeClass "gvisor" has the handler "runsc" and no node selector',
    'fail: The runtimeclass/gvisor does not select the nodes where its handler is proven',
  ],
  'agents of another handler': [
    (api) => api.stubs.set(DAEMON_SET_PATH, daemonSet('gvisor-kvm')),
    'fail: The RuntimeClass "gvisor" has the handler "runsc", and the agents prove "gvisor-kvm"',
    'fail: No RuntimeClass has the handler "gvisor-kvm"',
    'fail: The policy gvisor-ready-enforce-classes is not that of version 0.1.0 (variables.mainHandler of',
    'fail: The runtimeclass/gvisor-kvm is not installed',
    'fail: The runtimeclass/gvisor has a handler that the agents do not prove: its pods can run outside gVisor',
  ],
  'an additional handler': [soundHandlers],
  'a class of an additional handler that selects the nodes of the main one': [
    (api) => {
      soundHandlers(api);
      api.list(CLASS_LIST, [MAIN_CLASS, { ...KVM_CLASS, scheduling: MAIN_CLASS.scheduling }]);
    },
    `fail: The RuntimeClass "gvisor-kvm" has the handler "runsc-kvm" and no node selector ${LABEL_DOMAIN}/ready-runsc-kvm: "true": its pods go to nodes on which "runsc-kvm" is not proven`,
    'fail: The runtimeclass/gvisor-kvm does not select the nodes where its handler is proven',
  ],
  'an additional handler without a class': [
    (api) => {
      soundHandlers(api);
      api.list(CLASS_LIST, [MAIN_CLASS]);
    },
    'fail: No RuntimeClass has the handler "runsc-kvm", which the agents prove: no pod can request it',
  ],
  'a class of a handler that is no longer proven': [
    (api) => api.list(CLASS_LIST, [MAIN_CLASS, KVM_CLASS]),
    'fail: The RuntimeClass "gvisor-kvm" has the handler "runsc-kvm", and the agents prove "runsc": its pods run in something unproven',
  ],
  'a rollout': [
    (api) => api.stubs.set(DAEMON_SET_PATH, daemonSet('runsc', 2, 1)),
    'warning: Agents: 2 of 3 Ready, version 0.1.0; a rollout is at 1 of 3',
  ],
  'agents with the prefix of a kustomization': [
    (api) => {
      api.stubs.delete(DAEMON_SET_PATH);
      const { metadata, ...pod } = agentObject('node-1');
      const ownerReferences = [{ kind: 'DaemonSet', name: 'p-gvisor-ready-agent', controller: true }];
      api.list(AGENT_PODS, [{ ...pod, metadata: { ...metadata, ownerReferences } }]);
    },
    'fail: Agents: the DaemonSet gvisor-ready/gvisor-ready-agent is named p-gvisor-ready-agent: remove namePrefix and nameSuffix, which are not supported',
  ],
  'agents of another version': [
    (api) => {
      const { metadata, ...node } = nodeObject('node-2');
      setNode(api, {
        ...node,
        metadata: { ...metadata, annotations: { [`${LABEL_DOMAIN}/proven-by`]: '0.0.9+x' } },
      });
    },
    'warning: Agents: 3 of 3 Ready, version 0.1.0; nodes were proven by version 0.0.9, 0.1.0, this plugin has 0.1.0',
  ],
  'no proven node': [
    (api) => {
      for (const name of ['node-1', 'node-2', 'node-3']) setNode(api, nodeObject(name, UNJUDGED));
    },
    'fail: Nodes: proven on 0 of 3 nodes that should run gVisor; pods that request it stay Pending',
    'warning: gVisor: release unknown',
  ],
  'a missing policy of the base': [
    without('gvisor-ready-agent'),
    'fail: The policy gvisor-ready-agent is not installed: an agent could write other nodes than its own',
  ],
  'a missing guard of namespaces': [
    without('gvisor-ready-guard-namespace'),
    'fail: The policy gvisor-ready-guard-namespace is not installed: every user who may label a namespace can lift',
  ],
  'a missing policy of the fleet controller': [
    without('gvisor-ready-fleet'),
    'fail: The policy gvisor-ready-fleet is not installed: the fleet controller could label any node as proven',
  ],
  'no fleet controller, and none of its policies': [
    (api) => {
      without('gvisor-ready-fleet')(api);
      rename('gvisor-ready-fleet', 'another')(api);
      api.stubs.delete(FLEET_PATH);
    },
    'fail: Fleet: the controller withdraws no labels: there is none',
  ],
  'a part of a component': [
    (api) =>
      api.list(`${ADMISSION}/mutatingadmissionpolicies`, [{ metadata: { name: 'gvisor-ready-inject' } }]),
    'fail: The policy gvisor-ready-inject has no binding that denies (matchConditions, matchConstraints, mutations',
  ],
  'policies with the prefix of a kustomization': [rename('"gvisor-ready-', '"p-gvisor-ready-')],
  'a policy without binding': [
    rename('"policyName":"gvisor-ready-enforce"', '"policyName":"another"'),
    'fail: The policy gvisor-ready-enforce has no binding that denies, so pods in eval can run outside gVisor',
  ],
  'a missing policy of classes': [
    without('gvisor-ready-enforce-classes'),
    'fail: The policy gvisor-ready-enforce-classes is not installed: pods can name a class that does not run gVisor',
  ],
  'a policy bound to other objects only': [
    rename('"gvisor-ready.dev/require":"true"', '"gvisor-ready.dev/require":"x"', /-enforce-pods/),
    'fail: The policy gvisor-ready-enforce is not that of version 0.1.0 (matchResources of validatingadmissionpolicybinding/gvisor-ready-enforce-pods), so pods in eval can run outside gVisor. Replace it, or accept it: kubectl annotate --overwrite validatingadmissionpolicybinding gvisor-ready-enforce-pods gvisor-ready.dev/accepted-spec=',
  ],
  'policies that let pods through': [
    (api) => api.stubs.set(TRY_POD, { spec: {} }),
    'fail: A pod without a RuntimeClass would be let into eval, as a dry run shows',
    'fail: A pod with a hostPath would be let into eval, as a dry run shows',
  ],
  'pods that are given a class': [(api) => api.stubs.set(TRY_POD, (_: URL, body: string) => injected(body))],
  'a user who may create no pods': [
    (api) => api.stubs.set(TRY_POD, forbidden('create', 'pods', 'eval')),
    'warning: What pods may do was not tried in eval: The API server refuses POST',
  ],
  'policies that only warn': [
    (api) => {
      rename('"Fail"', '"Ignore"', /-(enforce|guard)/)(api);
      rename('["Deny"]', '["Warn"]', /-(enforce|guard)/)(api);
      api.list(NAMESPACES, [namespace('eval', 'audit')]);
    },
    'warning: The policy gvisor-ready-enforce only warns: pods can run outside gVisor where',
  ],
  'a namespace that lost its requirement': [
    (api) => {
      const guards = { isRequired: true, missing: [], lifted: ['training'] };
      api.stubs.set(FLEET_VIEW, viewOf(api, { guards }));
    },
    'fail: gVisor is no longer required in training: label it again, or write gvisor-ready.dev/require: "false"',
  ],
  'policies that the API server reads from its files': [
    (api) => {
      keptInFiles(api);
      const guards = { isRequired: true, missing: [], fromFiles: true };
      api.stubs.set(FLEET_VIEW, viewOf(api, { guards }));
    },
  ],
  'policies in files, and no view of the fleet controller': [
    (api) => {
      keptInFiles(api);
      const env = [{ name: 'GUARDS_FROM_FILES', value: 'on' }];
      const { status } = fleetDeployment();
      api.stubs.set(FLEET_PATH, { spec: { template: { spec: { containers: [{ env }] } } }, status });
    },
  ],
  'a fleet controller that cannot read the guards': [
    (api) => {
      const guards = { isRequired: true, missing: [], problem: '403' };
      api.stubs.set(FLEET_VIEW, viewOf(api, { guards }));
    },
    'warning: The controller cannot read the guards: 403',
  ],
  'labels without effect or on system namespaces': [
    (api) => api.list(NAMESPACES, [namespace('a', 'yes'), namespace('kube-system', 'audit')]),
    'fail: The namespace a has gvisor-ready.dev/require: "yes", which has no effect',
    'fail: The namespace kube-system is labelled gvisor-ready.dev/require',
  ],
  'pending pods older than the label': [
    (api) => {
      const waits = (name: string, spec: object) => ({
        ...podObject(name),
        spec,
        status: { phase: 'Pending' },
      });
      const pending = [
        waits('unscheduled', {}),
        waits('held', { nodeName: 'node-1', runtimeClassName: 'plain' }),
        waits('sandboxed', { runtimeClassName: 'gvisor' }),
      ];
      const isPending = (url: URL) => url.searchParams.get('fieldSelector') === 'status.phase=Pending';
      api.stubs.set(EVAL, (url: URL) => ({ items: isPending(url) ? pending : [] }));
    },
    'fail: Older than the requirement, and would start outside gVisor: eval/unscheduled (waits for a node), eval/held (waits on node-1). Delete them',
  ],
  'a missing permission': [
    (api) => api.stubs.set(CLASS_LIST, forbidden('list', 'runtimeclasses')),
    `unknown: The API server refuses GET ${CLASS_LIST}?limit=500: 403 runtimeclasses is forbidden`,
  ],
};

async function soundFleet(t: Parameters<typeof openFleet>[0]) {
  const fleet = await openFleet(t);
  setNode(fleet.api, nodeObject('node-3'));
  return fleet;
}

describe('check', () => {
  for (const [what, [change, ...expected]] of Object.entries(CASES))
    it(`reports ${what}`, async (t) => {
      const fleet = await soundFleet(t);
      change(fleet.api);
      const { code, lines } = await runCheck(fleet);
      assert.deepEqual(
        lines.map((line, at) => line.slice(0, expected[at]?.length)),
        expected,
      );
      const has = (tone: string) => expected.some((line) => line.startsWith(tone));
      const ifNoneFails = has('unknown') ? 2 : 0;
      assert.equal(code, has('fail') ? 1 : ifNoneFails);
    });

  it('prints each line under its section, with a page where it did not pass', async (t) => {
    const { run } = await soundFleet(t);
    const { out } = await run('check');
    assert.match(
      out,
      /^Kubernetes\n✓ The API server is v1\.36\.3; 1\.30 or newer is needed\n\nRuntimeClass\n✓ /,
    );
    assert.match(out, /\n\n13 passed\.\n$/);
  });

  it('prints one line when the API server is down', async (t) => {
    const { run, api } = await openFleet(t);
    api.close();
    const { code, out, err } = await run('check');
    assert.deepEqual([code, out, err.trim().split('\n').length], [2, '', 1]);
  });
});
