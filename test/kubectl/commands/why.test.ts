import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judge } from '../../../kubectl/commands/why.ts';
import { summarizeNode } from '../../../kubectl/node-summary.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { simulatedAgent } from '../../lib/fleet/simulated-fleet.ts';
import { forbidden } from '../fake-api.ts';
import { AGENT_PODS, addHandler, openFleet, setNode, setReport } from '../fleet.ts';
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

const REPORT = `${AGENT_PODS}/agent-node-3:9477/proxy/report`;

describe('why NODE', () => {
  it('explains a node that is not ready, with evidence and remedy', async (t) => {
    const { run } = await openFleet(t);
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.deepEqual(out.split('\n'), [
      '✗ node-3: gVisor does not work here (ShimNotFound, for 5m)',
      '',
      '  containerd does not find the shim of "io.containerd.runsc.v1": failed to run',
      '  [/usr/local/bin/containerd-shim-runsc-v1 -info]',
      '',
      '  Evaluated 30s ago; last proven 2m ago.',
      '',
      'What was seen',
      '  ✓ passed: kernel, containerd',
      '  ✗ shim: there is no containerd-shim-runsc-v1 in the usual directories',
      '      /etc/containerd/config.toml:12: runtime_type = "io.containerd.runsc.v1"',
      '  ✗ proof: failed ShimNotFound',
      '  ✓ restart of containerd: safe: every pod would stay',
      '  ✓ agent: agent-node-3 runs and is Ready',
      '',
      'What to do',
      "  ShimNotFound: Install containerd-shim-runsc-v1 of the same gVisor release in a directory of containerd's",
      '  PATH.',
      '',
      'See docs/reasons.md',
      '',
    ]);
  });

  it('shows a label that the agent refutes, why it cannot be written, and what to do first', async (t) => {
    const { api, run } = await openFleet(t);
    setReport(api, 'node-2', cutOff('node-2'));
    const { code, out } = await run('why node-2');
    assert.equal(code, 1);
    assert.match(
      out,
      /^✗ node-2: gVisor does not work here \(ShimNotFound; the label is not withdrawn yet\)\n/,
    );
    assert.match(
      out.replace(/\s+/g, ' '),
      / ✗ label: ready is still "true", .* 401 Unauthorized What to do AgentCannotWrite: .* delete its pod/,
    );
  });

  it('is not sure of a proven node whose report it cannot read', async (t) => {
    const { api, run } = await openFleet(t);
    api.stubs.delete(`${AGENT_PODS}/agent-node-1:9477/proxy/report`);
    const { code, out } = await run('why node-1');
    assert.equal(code, 2);
    assert.match(
      out,
      /^\? node-1: gVisor was proven \(SandboxProven, for 5m\); what its agent says now is not known\n/,
    );
  });

  it('shows sandboxes that hang, and the danger of a restart, without failing the node', async (t) => {
    const { api, run } = await openFleet(t);
    const many = Array.from({ length: 11 }, (_, at) => [`p${at}`, 'ShimLingers'] as const);
    const sandboxes = sandboxesOf(['x', 'ShimUnresponsive'], ...many);
    setReport(api, 'node-1', agentStatus('node-1', {}, { sandboxes }));
    const { code, out } = await run('why node-1');
    assert.equal(code, 0);
    for (const line of [
      '  ! ShimUnresponsive: eval/x: seen ShimUnresponsive (PID 900, for 12m)',
      '  ! ShimLingers: eval/p8: seen ShimLingers (PID 909, for 12m)',
      '  ! sandboxes: 2 more problems',
      '  ! restart of containerd: unsafe: a shim does not answer',
      '  The same holds for 10 more.',
    ])
      assert.ok(out.replace(/ The same/, '\n  The same').includes(`\n${line}\n`), `${line}: ${out}`);
    assert.doesNotMatch(out, /eval\/p9/);
    const { result, sandboxes: json } = JSON.parse((await run('why node-1 -o json')).out);
    const { at, stale, total } = sandboxes;
    const problems = sandboxes.problems.map(({ message: _, ...problem }) => problem);
    assert.deepEqual([result, json], ['pass', { at, stale, total, restart: 'unsafe', problems }]);
    setReport(api, 'node-1', agentStatus('node-1', {}, { sandboxes: { ...sandboxesOf(), stale: true } }));
    assert.match(
      (await run('why node-1')).out,
      /^ {2}\? restart of containerd: not known to be safe: last scan 2s ago$/m,
    );
  });

  it('says that the installer is at work, and nothing else to do than to wait', async (t) => {
    const { api, run } = await openFleet(t);
    const reason = 'InstallationUnderWay';
    setNode(api, nodeObject('node-3', { ...BROKEN, reason }));
    const report = brokenStatus('node-3');
    const message = 'release-20260223.0 is being installed (step restart); meanwhile ShimNotFound: no shim';
    const verdict = { ...report.verdict, reason, message } as const;
    setReport(api, 'node-3', { ...report, verdict, installation: INSTALLATIONS.atWork });
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.match(out, /^✗ node-3: gVisor does not work here \(InstallationUnderWay, for 5m\)$/m);
    assert.match(
      out.replace(/\s+/g, ' '),
      /\? installer: release-20250203\.0 is installed; release-20260223\.0 is being installed \(step restart, begun 2026-03-01 11:59:00 UTC\) /,
    );
    assert.match(out.split('What to do')[1] ?? '', /^\n {2}InstallationUnderWay: Wait: [^:]*\n\nSee /);
  });

  it('shows the additional handlers with what is wrong and what to do, and warns where the main one is proven', async (t) => {
    const { api, run } = await openFleet(t);
    addHandler(api);
    const proven = await run('why node-1');
    assert.match(proven.out, /^✓ node-1: gVisor works here \(SandboxProven, for 5m\)\n/);
    assert.match(proven.out, /^ {2}✓ runsc-kvm: last proven 3m ago$/m);
    const { code, out } = await run('why node-2');
    assert.equal(code, 0);
    assert.match(out, /^! node-2: gVisor works here \(SandboxProven, for 5m\) except with runsc-kvm\n/);
    assert.match(
      out,
      /^ {2}✗ runsc-kvm: SandboxFailed, for 15m: cannot open \/dev\/kvm\n {6}\/dev\/kvm: ENOENT\n/m,
    );
    assert.match(out, /\nWhat to do\n {2}SandboxFailed: Read the error/);
    const json = JSON.parse((await run('why node-2 -o json')).out);
    assert.deepEqual(
      [json.result, json.handlers, json.handlerReports, json.remedies],
      [
        'warning',
        { 'runsc-kvm': 'false' },
        [
          {
            handler: 'runsc-kvm',
            status: 'False',
            reason: 'SandboxFailed',
            provenAt: '2026-03-01T11:57:00Z',
          },
        ],
        ['SandboxFailed'],
      ],
    );
    const without = await run('why node-3');
    assert.match(without.out, /^✓ .*\n[\s\S]*^ {2}- runsc-kvm: HandlerNotConfigured, for 15m: no file/m);
    assert.doesNotMatch(without.out, /What to do/);
    setNode(api, withHandler(nodeObject('node-3'), 'runsc-kvm', 'false'));
    const lost = await run('why node-3');
    assert.match(lost.out, /^! .* except with runsc-kvm\n[\s\S]*^ {2}✗ runsc-kvm: HandlerNotConfigured/m);
    assert.match(lost.out, /\nWhat to do\n {2}HandlerNotConfigured: Install gVisor with/);
  });

  it('shows a label of an additional handler that contradicts the report, or that no report explains', async (t) => {
    const { api, run } = await openFleet(t);
    addHandler(api);
    setReport(api, 'node-2', agentStatus('node-2', {}, { handlers: [kvmReport()] }));
    assert.match(
      (await run('why node-2')).out,
      /^ {2}✗ runsc-kvm: last proven 3m ago; its label ready-runsc-kvm is "false"$/m,
    );
    setReport(api, 'node-2', agentStatus('node-2'));
    assert.match((await run('why node-2')).out, /^ {2}✗ runsc-kvm: NoReport$/m);
  });

  it('shows the last failure of the installer on a node that works', async (t) => {
    const { api, run } = await openFleet(t);
    setReport(api, 'node-1', agentStatus('node-1', {}, { installation: INSTALLATIONS.failed }));
    const { code, out } = await run('why node-1');
    assert.equal(code, 0);
    assert.match(
      out.replace(/\s+/g, ' '),
      /! installer: release-20250203\.0 is installed; release-20260224\.0 failed at 2026-03-01 11:59:00 UTC in step pre-prove: RunscNotExecutable: gVisor/,
    );
  });

  it('falls back to the condition of the Node', async (t) => {
    const { api, run } = await openFleet(t);
    const refused = forbidden('create', 'pods/portforward', 'gvisor-ready');
    api.stubs.set(`${AGENT_PODS}/agent-node-3/portforward`, refused);
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.match(out, /^ {2}no shim$/m);
    assert.match(
      out.replace(/\s+/g, ' '),
      /its report is unavailable: you may not read the agents' reports: that needs the verbs get and create on pods\/portforward in the namespace gvisor-ready/,
    );
    assert.match(out, /ShimNotFound: Install/);
  });

  it('reports an agent that is missing, or does not run', async (t) => {
    const { api, run } = await openFleet(t);
    const waits = { waiting: 'ImagePullBackOff', message: 'Back-off pulling image "x"' };
    api.list(AGENT_PODS, [agentObject('node-3', waits)]);
    const missing = await run('why node-1');
    assert.equal(missing.code, 1);
    assert.match(missing.out, /^ {2}✗ agent: no agent runs on this node, so its label is out of date$/m);
    assert.match(missing.out, /kubectl -n gvisor-ready describe daemonset gvisor-ready-agent/);
    assert.match(
      (await run('why node-3')).out,
      /the pod agent-node-3 does not run: ImagePullBackOff: Back-off pulling image "x"/,
    );
  });

  it('quotes /readyz of an agent that is not Ready', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(AGENT_PODS, [agentObject('node-1', { ready: false })]);
    const body = 'the node was proven by 0.1.0+84c18f33\n';
    api.stubs.set(`${AGENT_PODS}/agent-node-1:9477/proxy/readyz`, { status: 503, body, type: 'text/plain' });
    assert.match(
      (await run('why node-1')).out,
      /^ {2}! agent: agent-node-1 runs and is not Ready: the node was proven by 0\.1\.0\+84c18f33$/m,
    );
  });

  it('reports a node without verdict, a cordoned one, and one in a grace period', async (t) => {
    const { api, run } = await openFleet(t);
    api.stubs.delete(REPORT);
    setNode(api, nodeObject('node-3', { ...UNJUDGED, spec: { unschedulable: true } }));
    const { code, out } = await run('why node-3');
    assert.equal(code, 2);
    assert.match(out, /^\? node-3: no agent has judged it\n/);
    assert.match(out, /^ {2}! node: it is cordoned$/m);
    const slow = { ready: 'true', status: 'Unknown', reason: 'SandboxSlow', message: 'slow' };
    setNode(api, nodeObject('node-3', slow));
    assert.match(
      (await run('why node-3')).out,
      /\(SandboxSlow, for 5m; the label is kept for a grace period\)/,
    );
  });

  it('works with a reason of a newer agent', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(AGENT_PODS, []);
    setNode(
      api,
      nodeObject('node-3', { ready: 'false', status: 'Unknown', reason: 'OfTomorrow', message: 'm' }),
    );
    assert.match((await run('why node-3')).out, /OfTomorrow: this plugin is older than the agent/);
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
                const [tone, , headline] = judge({ node, agent, ...(runs ? { result } : {}) }, NOW);
                const works = headline.startsWith('gVisor works here');
                const what = `agent ${state}, report ${read}: ${tone} ${headline}`;
                assert.equal(tone === 'pass', works, what);
                assert.equal(works && ready !== 'true', false, what);
                assert.equal(tone === 'skipped', headline.startsWith('gVisor is not expected here'), what);
                assert.equal(
                  /^(gVisor does not work|its label|proven, but|it is labelled)/.test(headline),
                  tone === 'fail',
                  what,
                );
                assert.doesNotMatch(
                  headline,
                  /^gVisor works here \((?!SandboxProven)|not work here \(SandboxProven/,
                  what,
                );
              }
      });

  it('says where gVisor is not expected, without a fault', async (t) => {
    const { api, run } = await openFleet(t);
    setNode(api, nodeObject('node-3', { ...BROKEN, expected: false }));
    const { code, out } = await run('why node-3');
    assert.equal(code, 0);
    assert.match(out, /^- node-3: gVisor is not expected here \(ShimNotFound, for 5m\)\n/);
    assert.match(out, /\n\nTo run gVisor here\n {2}ShimNotFound: Install/);
    assert.doesNotMatch(out, /What to do/);
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
