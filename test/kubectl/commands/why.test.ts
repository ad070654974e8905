import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { summarizeNode } from '../../../kubectl/cluster/node-summary.ts';
import { judgeNode } from '../../../kubectl/commands/why.ts';
import type { EgressVerdict } from '../../../lib/fleet/view.ts';
import { OWN_KEYS } from '../../../lib/report/node-object.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { simulatedAgent } from '../../lib/fleet/simulated-fleet.ts';
import { type FakeApi, forbidden } from '../fake-api.ts';
import { AGENT_PODS, addHandler, FLEET_VIEW, openFleet, setNode, setReport, viewOf } from '../fleet.ts';
import {
  agentObject,
  agentStatus,
  BROKEN,
  brokenStatus,
  cutOff,
  kvmReport,
  nodeObject,
  podObject,
  sandboxesOf,
  UNJUDGED,
  withHandler,
} from '../fleet-objects.ts';
import { NOW } from '../run-plugin.ts';
import { itShows } from '../screens.ts';

/** Reports of node-3 while its installer is at work. */
function installing(api: FakeApi): void {
  const reason = 'InstallationUnderWay';
  setNode(api, nodeObject('node-3', { ...BROKEN, reason }));
  const report = brokenStatus('node-3');
  const message = 'release-20260223.0 is being installed (step restart); meanwhile ShimNotFound: no shim';
  const verdict = { ...report.verdict, reason, message } as const;
  const evaluation = { ...report.evaluation, verdict };
  setReport(api, 'node-3', { ...report, verdict, evaluation, installation: INSTALLATIONS.atWork });
}

/** The first failure of a node whose report also has pods that run outside. */
function unpublished(api: FakeApi): void {
  const broken = brokenStatus('node-2');
  const { pods } = agentStatus('node-2', { outside: ['x'], open: ['y'] });
  setReport(api, 'node-2', { ...broken, verdict: agentStatus('node-2').verdict, pods });
}

/** The label `egress-closed` of node-1, and the controller's verdict if it has the component egress. */
const egress = (label: string, verdict?: EgressVerdict) => (api: FakeApi) => {
  const node = nodeObject('node-1');
  Object.assign(node.metadata.labels, { [OWN_KEYS.egressClosed]: label });
  setNode(api, node);
  const verdicts = verdict && new Map([['node-1', verdict]]);
  api.stubs.set(FLEET_VIEW, () => viewOf(api, { egress: verdicts }));
};

const report = (node: string, changes: Parameters<typeof agentStatus>[2]) => (api: FakeApi) =>
  setReport(api, node, agentStatus(node, {}, changes));
const handlersOf = (change: (api: FakeApi) => void) => (api: FakeApi) => {
  addHandler(api);
  change(api);
};
const MANY = Array.from({ length: 11 }, (_, at) => [`p${at}`, 'ShimLingers'] as const);
const PULLS = { waiting: 'ImagePullBackOff', message: 'Back-off pulling image "x"' };

/** Changes of a fleet whose node-3 has no shim; screens/why-node.txt has what `why` then prints of a node. */
const CASES: Readonly<Record<string, readonly [node: string, change?: (api: FakeApi) => void]>> = {
  'a node that is not ready, with evidence and remedy': ['node-3'],
  'a label that the agent refutes, why it cannot be written, and what to do first': [
    'node-2',
    (api) => setReport(api, 'node-2', cutOff('node-2')),
  ],
  'a failure that the agent refutes, and why it cannot be written': [
    'node-3',
    report('node-3', { nodeWrites: { problem: 'PATCH /api/v1/nodes/node-3/status: 403 Forbidden' } }),
  ],
  'a proven node whose report it cannot read': [
    'node-1',
    (api) => api.stubs.delete(`${AGENT_PODS}/agent-node-1:9477/proxy/report`),
  ],
  'sandboxes that hang, and the danger of a restart, without failing the node': [
    'node-1',
    report('node-1', { sandboxes: sandboxesOf(['x', 'ShimUnresponsive'], ...MANY) }),
  ],
  'a scan of sandboxes that is too old': [
    'node-1',
    report('node-1', { sandboxes: { ...sandboxesOf(), stale: true } }),
  ],
  'an installer at work, and nothing else to do than to wait': ['node-3', installing],
  'the last failure of the installer on a node that works': [
    'node-1',
    report('node-1', { installation: INSTALLATIONS.failed }),
  ],
  'a node whose additional handler works': ['node-1', addHandler],
  'a node whose additional handler is broken': ['node-2', addHandler],
  'a node that never had the additional handler': ['node-3', addHandler],
  'a node that lost the additional handler': [
    'node-3',
    handlersOf((api) => setNode(api, withHandler(nodeObject('node-3'), 'runsc-kvm', 'false'))),
  ],
  'a label of an additional handler that contradicts the report': [
    'node-2',
    handlersOf(report('node-2', { handlers: [kvmReport()] })),
  ],
  'a label of an additional handler that no report explains': ['node-2', handlersOf(report('node-2', {}))],
  'what is not published yet, and pods outside gVisor': ['node-2', unpublished],
  'the condition of the Node without the permission to forward ports': [
    'node-3',
    (api) => {
      const refused = forbidden('create', 'pods/portforward', 'gvisor-ready');
      api.stubs.set(`${AGENT_PODS}/agent-node-3/portforward`, refused);
    },
  ],
  'a labelled node without an agent': ['node-1', (api) => api.list(AGENT_PODS, [])],
  'an agent that does not run': ['node-3', (api) => api.list(AGENT_PODS, [agentObject('node-3', PULLS)])],
  'what an agent says of itself that is not Ready': [
    'node-1',
    (api) => {
      api.list(AGENT_PODS, [agentObject('node-1', { ready: false })]);
      const body = 'the node was proven by 0.1.0+84c18f33\n';
      const readyz = `${AGENT_PODS}/agent-node-1:9477/proxy/readyz`;
      api.stubs.set(readyz, { status: 503, body, type: 'text/plain' });
    },
  ],
  'a cordoned node without a verdict': [
    'node-3',
    (api) => {
      setNode(api, nodeObject('node-3', { ...UNJUDGED, spec: { unschedulable: true } }));
      setReport(api, 'node-3', { status: 503, body: 'no evaluation yet' });
    },
  ],
  'a node in a grace period': [
    'node-3',
    (api) => {
      setNode(api, nodeObject('node-3', { status: 'Unknown', reason: 'SandboxSlow', message: 'slow' }));
      setReport(api, 'node-3', { status: 503, body: 'no evaluation yet' });
    },
  ],
  'a reason of a newer agent': [
    'node-3',
    (api) => {
      api.list(AGENT_PODS, []);
      const reason = 'OfTomorrow';
      setNode(api, nodeObject('node-3', { ready: 'false', status: 'Unknown', reason, message: 'm' }));
    },
  ],
  'egress that is closed': ['node-1', egress('true', { state: 'closed' })],
  'egress that was open, and a label that still says otherwise': [
    'node-1',
    egress('true', { state: 'open', targets: [{ name: 'kubelet', ms: 84 }, { name: 'pod' }] }),
  ],
  'egress that only needs more sandboxes': [
    'node-1',
    egress('false', { state: 'unknown', why: 'closed in 1 of 2 new sandboxes', waits: true }),
  ],
  'a label of egress without the component': ['node-1', egress('true')],
  'where gVisor is not expected, without a fault': [
    'node-3',
    (api) => setNode(api, nodeObject('node-3', { ...BROKEN, expected: false })),
  ],
};

describe('why NODE', () => {
  itShows('why-node', CASES, async ([node, change], t) => {
    const { api, run } = await openFleet(t);
    change?.(api);
    return run(`why ${node}`);
  });
});

const LABELS = ['true', 'false', ''] as const;
const VERDICTS = { True: 'SandboxProven', False: 'ShimNotFound', Unknown: 'SandboxSlow', '': '' } as const;
const AGENT = { ...simulatedAgent('n'), message: '', port: 9477, ending: false };
const AGENTS = {
  Ready: { ...AGENT, state: 'Running', ready: true },
  NotReady: { ...AGENT, state: 'Running', ready: false },
  Failing: { ...AGENT, state: 'ImagePullBackOff', ready: false },
  hidden: '?',
  none: undefined,
} as const;
const RESULTS = {
  unread: { problem: 'no response' },
  proven: { report: agentStatus('n') },
  broken: { report: brokenStatus('n') },
};

describe('the headline of why NODE', () => {
  for (const ready of LABELS)
    for (const [status, reason] of Object.entries(VERDICTS))
      it(`never contradicts its mark: label "${ready}", condition "${status}"`, () => {
        for (const expected of [true, false])
          for (const alive of [true, false])
            for (const [state, agent] of Object.entries(AGENTS))
              for (const [read, result] of Object.entries(RESULTS)) {
                const object = nodeObject('n', { ready, status, reason, expected, alive }) as unknown;
                const node = summarizeNode(object as Parameters<typeof summarizeNode>[0]);
                const runs = agent === AGENTS.Ready || agent === AGENTS.NotReady;
                const [tone, , headline] = judgeNode({ node, agent, ...(runs ? { result } : {}) }, NOW);
                const works = headline.startsWith('gVisor works here');
                const what = `agent ${state}, report ${read}: ${tone} ${headline}`;
                assert.equal(tone === 'pass', works, what);
                assert.equal(works && ready !== 'true', false, what);
                assert.equal(tone === 'skipped', headline.startsWith('gVisor is not expected here'), what);
                assert.equal(
                  /^(gVisor does not work|proven, but|it is labelled)/.test(headline),
                  tone === 'fail',
                  what,
                );
                if (headline.startsWith('its label ready')) assert.equal(tone, 'warning', what);
                assert.doesNotMatch(
                  headline,
                  /^gVisor works here \((?!SandboxProven)|not work here \(SandboxProven/,
                  what,
                );
              }
      });
});

describe('the argument of why', () => {
  const INVALID: readonly (readonly [argv: string, code: number, error: string])[] = [
    ['nope', 2, 'There is no node "nope", and no pod "nope" in the namespace "eval"'],
    ['no/nope', 2, 'There is no node "nope"'],
    ['pod/nope', 2, 'There is no pod "nope" in the namespace "eval"'],
    ['svc/nope', 64, '"svc" is not a supported kind: write node/nope or pod/nope'],
    ['../x', 64, '".." is not a supported kind: write node/x or pod/x'],
    ['node/a/b', 64, '"node/a/b" is not a name of a node or pod'],
    ['node-1', 64, '"node-1" is a node, and a pod of eval: write node/node-1 or pod/node-1'],
  ];
  it('is the name of one node or pod', async (t) => {
    const { api, run } = await openFleet(t);
    api.stubs.set('/api/v1/namespaces/eval/pods/node-1', podObject('node-1'));
    for (const [argv, ...expected] of INVALID) {
      const { code, err } = await run(`why ${argv}`);
      assert.deepEqual([code, err.trim()], expected);
    }
  });
});
