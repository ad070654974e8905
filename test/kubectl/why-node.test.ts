import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { forbidden, refusal } from './fake-api.ts';
import { setNode, tell } from './fleet.ts';
import { agentOf, nodeOf, podOf, statusOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

const PODS = '/api/v1/namespaces/gvisor-ready/pods';
const REPORT = `${PODS}/agent-node-3:9477/proxy/report`;
const PORT = `${PODS}/agent-node-3/portforward`;

describe('why NODE', () => {
  it('says why a node is not ready, with evidence and what to do', async (t) => {
    const { run } = await openFleet(t);
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.deepEqual(out.split('\n'), [
      '✗ node-3: gVisor does not work here (ShimNotFound, for 5m)',
      '',
      '  containerd does not find the shim of "io.containerd.runsc.v1": failed to run',
      '  [/usr/local/bin/containerd-shim-runsc-v1 -info]',
      '',
      '  Looked at 30s ago; gVisor was proven 2m ago.',
      '',
      'What was seen',
      '  ✓ in order: kernel, containerd',
      '  ✗ shim: there is no containerd-shim-runsc-v1 in the usual directories',
      '      /etc/containerd/config.toml:12: runtime_type = "io.containerd.runsc.v1"',
      '  ✗ proof: failed ShimNotFound',
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

  it('says that a proven node is fine', async (t) => {
    const { run } = await openFleet(t);
    const { code, out } = await run('why node/node-1');
    assert.equal(code, 0);
    assert.match(out, /^✓ node-1: gVisor works here \(SandboxProven, for 5m\)\n/);
    assert.doesNotMatch(out, /What to do/);
  });

  it('says what the Node says alone where agents may not be asked', async (t) => {
    const { api, run } = await openFleet(t);
    api.behind.set(PORT, forbidden('create', 'pods/portforward', 'gvisor-ready'));
    assert.match((await run('why node-3')).out, /✗ shim: there is no/, 'pods/proxy is enough');
    api.behind.set(REPORT, forbidden('get', 'pods/proxy', 'gvisor-ready'));
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.match(out, /^ {2}no shim$/m);
    assert.match(
      out.replace(/\s+/g, ' '),
      /its report is not here: you may not ask agents: that needs the verbs get and create on pods\/portforward in the namespace gvisor-ready/,
    );
    assert.match(out, /ShimNotFound: Install/);
  });

  const UNREACHED: readonly (readonly [what: string, answer: ReturnType<typeof refusal>, said: RegExp])[] = [
    [
      'the API server does not reach',
      refusal(503, 'error trying to reach service: dial tcp 10.0.0.9:9477: i/o timeout'),
      /the API server does not reach the agent: error trying to reach service/,
    ],
    [
      'has not looked yet',
      { status: 503, body: 'the first look has not ended yet\n', type: 'text/plain' },
      /its report is not here: the first look has not ended yet/,
    ],
    [
      'answers something else',
      { status: 404, body: 'known paths: /\n', type: 'text/plain' },
      /the agent answers 404: known paths/,
    ],
    [
      'answers no JSON',
      { status: 200, body: 'hello', type: 'text/plain' },
      /gave no report: Unexpected token/,
    ],
  ];
  for (const [what, answer, said] of UNREACHED)
    it(`says so when the agent ${what}`, async (t) => {
      const { api, run } = await openFleet(t);
      api.behind.set(REPORT, answer);
      const { code, out } = await run('why node-3');
      assert.equal(code, 1);
      assert.match(out.replace(/\s+/g, ' '), said);
    });

  it('does not take the report of another node', async (t) => {
    const { api, run } = await openFleet(t);
    tell(api, 'node-3', statusOf('node-1'));
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.match(out, /speaks for another node,\s+"node-1"/);
  });

  it('finds the agent that is not there, and the one that does not run', async (t) => {
    const { api, run } = await openFleet(t);
    const waits = { waiting: 'ImagePullBackOff', message: 'Back-off pulling image "x"' };
    api.list(PODS, [agentOf('node-3', waits)]);
    const lost = await run('why node-1');
    assert.equal(lost.code, 1);
    assert.match(
      lost.out,
      /^ {2}✗ agent: no agent runs on this node, and the label says what it said last$/m,
    );
    assert.match(lost.out, /kubectl -n gvisor-ready describe daemonset gvisor-ready-agent/);
    const waiting = await run('why node-3');
    assert.match(
      waiting.out,
      /its pod agent-node-3 does not run: ImagePullBackOff: Back-off pulling image "x"/,
    );
  });

  it('gives the words of an agent that holds up a rollout', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(PODS, [agentOf('node-1', { ready: false })]);
    api.behind.set(`${PODS}/agent-node-1:9477/proxy/readyz`, {
      status: 503,
      body: 'the node was proven by 0.1.0+84c18f33\n',
      type: 'text/plain',
    });
    assert.match(
      (await run('why node-1')).out,
      /^ {2}! agent: agent-node-1 runs and is not Ready: the node was proven by 0\.1\.0\+84c18f33$/m,
    );
  });

  it('knows a node that nobody judged, one that is cordoned, and one whose label is kept for now', async (t) => {
    const { api, run } = await openFleet(t);
    api.behind.delete(REPORT);
    setNode(api, nodeOf('node-3', { ready: '', status: '', spec: { unschedulable: true } }));
    const { code, out } = await run('why node-3');
    assert.equal(code, 1);
    assert.match(out, /^\? node-3: no agent has judged it\n/);
    assert.match(out, /it is cordoned/);
    setNode(
      api,
      nodeOf('node-3', { ready: 'true', status: 'Unknown', reason: 'SandboxSlow', message: 'slow' }),
    );
    assert.match((await run('why node-3')).out, /\(SandboxSlow, for 5m; the label is kept for now\)/);
  });

  it('does without a remedy for a reason of another version', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(PODS, []);
    setNode(api, nodeOf('node-3', { ready: 'false', status: 'Unknown', reason: 'OfTomorrow', message: 'm' }));
    assert.match((await run('why node-3')).out, /OfTomorrow: a reason of another version/);
  });

  it('is for programs as JSON', async (t) => {
    const { run } = await openFleet(t);
    const { tone, next, docs } = JSON.parse((await run('why node-3 -o json')).out) as Record<string, unknown>;
    assert.deepEqual([tone, (next as string[]).length, docs], ['fail', 1, 'docs/reasons.md']);
  });
});

describe('what why is asked about', () => {
  it('is a node or a pod that there is', async (t) => {
    const { api, run } = await openFleet(t);
    const asked = async (words: string) => {
      const { code, err } = await run(words);
      return [code, err.trim()];
    };
    assert.deepEqual(await asked('why nope'), [
      2,
      'There is no node "nope", and no pod "nope" in the namespace "eval"',
    ]);
    assert.deepEqual(await asked('why no/nope'), [2, 'There is no node "nope"']);
    api.list('/api/v1/namespaces/x/events', []);
    assert.deepEqual(await asked('why pod/nope -n x'), [2, 'There is no pod "nope" in the namespace "x"']);
    assert.deepEqual(await asked('why svc/nope'), [
      64,
      '"svc" is no kind that can be asked about: write node/nope or pod/nope',
    ]);
    assert.deepEqual(await asked('why ../x'), [
      64,
      '".." is no kind that can be asked about: write node/x or pod/x',
    ]);
    assert.deepEqual(await asked('why node/a/b'), [64, '"node/a/b" is no name of a node or pod']);
    api.behind.set('/api/v1/namespaces/eval/pods/node-1', podOf('node-1'));
    assert.deepEqual(await asked('why node-1'), [
      64,
      '"node-1" is a node, and a pod of eval: write node/node-1 or pod/node-1',
    ]);
  });
});
