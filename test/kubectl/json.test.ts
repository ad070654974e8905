import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FakeApi } from './fake-api.ts';
import {
  addWarmPods,
  FLEET_PATH,
  FLEET_PODS,
  fleetDeployment,
  openFleet,
  setNode,
  setReport,
} from './fleet.ts';
import { agentStatus, BROKEN, nodeObject, podObject } from './fleet-objects.ts';

/** The time of the last transition of every Node. */
const SINCE = '2026-03-01T11:55:00Z';
const NODE = {
  handlers: {},
  platform: 'systrap',
  runsc: 'release-20260223.0',
  kubeletReady: true,
  cordoned: false,
  kubelet: 'v1.36.3',
  runtime: 'containerd://2.4.2',
  os: 'linux',
  architecture: 'amd64',
};
const agentOn = (node: string) => ({ pod: `agent-${node}`, state: 'Ready', version: '0.1.0' });
const BROKEN_NODE = {
  name: 'node-3',
  expected: true,
  ready: 'false',
  condition: { status: 'False', reason: 'ShimNotFound', since: SINCE },
  ...NODE,
  provenBy: null,
  agent: agentOn('node-3'),
};
const POD = { namespace: 'eval', name: 'out', uid: 'uid-out', node: 'node-1' };
const OUTSIDE = {
  ...POD,
  runtimeClass: '',
  wanted: true,
  reason: 'ProcessIsNotGvisor',
  inGvisor: 'no',
};
const COUNTS = { running: 1, wanted: 1, inside: 0, open: 0, outside: 1, unknown: 0 };

const OPERATIONS = 'docs/operations.md#when-something-is-wrong';

/** Pods outside gVisor or warm on a broken node, a node where gVisor is not expected, and no fleet controller. */
function burning(api: FakeApi): void {
  addWarmPods(api, { warm: ['node-3', 'gvisor'], other: ['node-3', 'kata'], waiting: ['', 'gvisor'] });
  api.list('/api/v1/namespaces/eval/pods', [podObject('out')]);
  setReport(api, 'node-1', agentStatus('node-1', { outside: ['out'] }));
  setNode(api, nodeObject('node-2', { ...BROKEN, reason: 'HandlerNotConfigured', expected: false }));
  api.stubs.set(FLEET_PATH, fleetDeployment(0));
  api.list(FLEET_PODS, []);
}

const passes = (id: string, docs: string, data: object = {}) => ({ id, result: 'pass', docs, ...data });

/** The parts of the fleet, in `status` by name and in `check` as lines. */
const PARTS = {
  pods: { result: 'fail', reasons: ['PodsOutsideGvisor'], outside: 1, open: 0, unknown: [] },
  fleetController: {
    result: 'fail',
    reasons: ['FleetControllerScaledToZero'],
    desired: 0,
    ready: 0,
    version: '0.1.0',
  },
  nodes: {
    result: 'fail',
    reasons: ['NodesNotProven'],
    total: 3,
    expected: 2,
    proven: 1,
    inGrace: [],
    kubeletNotReady: [],
    cordoned: [],
    notProven: [{ reason: 'ShimNotFound', nodes: ['node-3'] }],
    notExpected: [{ reason: 'HandlerNotConfigured', nodes: ['node-2'] }],
  },
  agents: {
    result: 'pass',
    reasons: [],
    desired: 3,
    ready: 3,
    updated: 3,
    versions: { '0.1.0': 3 },
    provenBy: ['0.1.0'],
    notReady: [],
    labelWithoutAgent: [],
  },
  releases: { result: 'pass', reasons: [], nodes: { 'release-20260223.0': 2 } },
  namespaces: { result: 'pass', reasons: [], required: ['eval'], audited: [] },
  warmPods: {
    result: 'fail',
    reasons: ['WarmPodsUnproven', 'TemplatesWithoutClass'],
    unproven: [{ namespace: 'eval', name: 'warm', node: 'node-3', handler: 'runsc' }],
    templates: [{ namespace: 'eval', name: 'bare' }],
  },
};
const part = (key: keyof typeof PARTS, docs: string) => ({
  id: `${key[0]?.toUpperCase()}${key.slice(1)}`,
  ...PARTS[key],
  docs,
});

/** The documented shapes, in a burning fleet. */
const SHAPES: Readonly<Record<string, readonly [code: number, shape: object]>> = {
  status: [
    1,
    {
      context: 'fake',
      result: 'fail',
      alarms: Object.values(PARTS).flatMap(({ reasons }): string[] => reasons),
      ...PARTS,
      handlers: [],
    },
  ],
  nodes: [
    0,
    {
      nodes: [
        {
          name: 'node-1',
          expected: true,
          ready: 'true',
          condition: { status: 'True', reason: 'SandboxProven', since: SINCE },
          ...NODE,
          provenBy: '0.1.0',
          agent: agentOn('node-1'),
        },
        {
          ...BROKEN_NODE,
          name: 'node-2',
          expected: false,
          condition: { ...BROKEN_NODE.condition, reason: 'HandlerNotConfigured' },
          runsc: null,
          platform: null,
          agent: agentOn('node-2'),
        },
        BROKEN_NODE,
      ],
    },
  ],
  pods: [1, { counts: COUNTS, hidden: [], pods: [OUTSIDE] }],
  'why node-3': [
    1,
    {
      kind: 'Node',
      result: 'fail',
      reason: 'ShimNotFound',
      ...BROKEN_NODE,
      report: 'Read',
      verdict: { status: 'False', reason: 'ShimNotFound' },
      evaluatedAt: '2026-03-01T11:59:30Z',
      provenAt: '2026-03-01T11:58:00Z',
      checks: [
        { id: 'kernel', status: 'pass', reason: null, severity: null, evidence: [] },
        { id: 'containerd', status: 'pass', reason: null, severity: null, evidence: [] },
        {
          id: 'shim',
          status: 'fail',
          reason: 'ShimNotFound',
          severity: 'error',
          evidence: [
            {
              file: '/etc/containerd/config.toml',
              line: 12,
              value: 'runtime_type = "io.containerd.runsc.v1"',
            },
          ],
        },
      ],
      proof: { kind: 'failed', reason: 'ShimNotFound' },
      handlerReports: [],
      sandboxes: { at: '2026-03-01T11:59:58Z', stale: false, total: 0, restart: 'safe', problems: [] },
      remedies: ['ShimNotFound'],
      docs: 'docs/reasons.md',
    },
  ],
  'why pod/out': [
    1,
    {
      kind: 'Pod',
      result: 'fail',
      reason: 'OutsideGvisor',
      ...POD,
      phase: 'Running',
      nodeReady: 'true',
      runtimeClass: null,
      handler: null,
      asksForGvisor: false,
      namespaceRequiresGvisor: true,
      warnings: [],
      evidence: 'ProcessIsNotGvisor',
      sandboxProblems: [],
      docs: 'docs/runbooks/GVisorUnsandboxedPods.md',
    },
  ],
  check: [
    1,
    {
      context: 'fake',
      result: 'fail',
      checks: [
        passes('KubernetesVersion', 'docs/admission.md', { version: 'v1.36.3' }),
        passes('SelectsProvenNodes', 'docs/install.md#3-the-agent', {
          runtimeClass: 'gvisor',
          handler: 'runsc',
          guard: 'NodeSelector',
        }),
        part('pods', 'docs/runbooks/GVisorUnsandboxedPods.md'),
        part('fleetController', 'docs/fleet.md'),
        part('agents', OPERATIONS),
        part('nodes', 'docs/runbooks/GVisorNodeNotReady.md'),
        part('releases', OPERATIONS),
        part('warmPods', 'docs/agent-sandbox.md#when-a-node-loses-gvisor'),
        part('namespaces', OPERATIONS),
        passes('AgentPolicies', 'docs/security.md#what-a-stolen-token-of-one-node-can-do-and-cannot'),
        passes('FleetPolicies', 'docs/security.md#the-fleet-controller'),
        passes('Enforcement', 'docs/admission.md#installing-it', {
          policy: 'gvisor-ready-enforce',
          effect: 'denies',
          namespaces: ['eval'],
        }),
        passes('NamespaceGuard', 'docs/admission.md#who-may-lift-the-requirement', {
          policy: 'gvisor-ready-guard-namespace',
          effect: 'denies',
        }),
      ],
    },
  ],
};

describe('-o json', () => {
  for (const [argv, [expectedCode, shape]] of Object.entries(SHAPES))
    it(`of ${argv} has its documented shape`, async (t) => {
      const { api, run } = await openFleet(t);
      burning(api);
      api.stubs.set('/api/v1/namespaces/eval/pods/out', podObject('out'));
      const { code, out } = await run(`${argv} -o json`);
      assert.deepEqual(JSON.parse(out), shape);
      assert.equal(code, expectedCode);
    });
});
