import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { forbidden, refusal } from './fake-api.ts';
import { tell } from './fleet.ts';
import { agentOf, podOf, statusOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

const EVAL = '/api/v1/namespaces/eval/pods';
const AGENTS = '/api/v1/namespaces/gvisor-ready/pods';

describe('pods', () => {
  it('says what each running pod is really in', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [
      podOf('in', { runtimeClassName: 'gvisor' }),
      podOf('far', { runtimeClassName: 'gvisor', nodeName: 'node-2' }),
    ]);
    tell(api, 'node-1', statusOf('node-1', { inside: ['in'] }));
    tell(api, 'node-2', statusOf('node-2', { inside: ['far'] }));
    const { code, out, err } = await run('pods');
    assert.deepEqual([code, err], [0, '']);
    assert.deepEqual(out.split('\n'), [
      'NAME   IN-GVISOR   WANTED   CLASS    NODE',
      'in     yes         yes      gvisor   node-1',
      'far    yes         yes      gvisor   node-2',
      '',
    ]);
    assert.ok(
      api.asked.every((each) => !each.includes('agent-node-3')),
      'asks no agent of a node without pods',
    );
    assert.ok(api.asked.some((each) => each.startsWith(`GET ${EVAL}?fieldSelector=status.phase%3DRunning`)));
  });

  it('finds the pod that should be in gVisor and is not', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [podOf('out')]);
    tell(api, 'node-1', statusOf('node-1', { outside: ['out'] }));
    const { code, out, err } = await run('pods -o wide --no-headers');
    assert.equal(code, 1);
    assert.match(out, /^out {3}no {3}yes {3}- {3}node-1 {3}process 812 is "\/pause"\n$/);
    assert.equal(err, '1 pod should run in gVisor and does not: see kubectl gvisor-ready why POD.\n');
  });

  it('finds the pod that has a way out of its sandbox, which is a problem where gVisor is wanted', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [podOf('open')]);
    tell(api, 'node-1', statusOf('node-1', { open: ['open'] }));
    const { code, out, err } = await run('pods -o wide --no-headers');
    assert.equal(code, 1);
    assert.match(
      out,
      /^open {3}open {3}yes {3}- {3}node-1 {3}process 813 is "runsc-sandbox" with host-uds=all: /,
    );
    assert.equal(
      err,
      '1 pod should be shut in gVisor and has a way out: see kubectl gvisor-ready why POD.\n',
    );
  });

  it('of all namespaces with -A, and of another with -n', async (t) => {
    const { api, run } = await openFleet(t);
    api.list('/api/v1/pods', [
      podOf('in'),
      { ...podOf('proxy'), metadata: { ...podOf('proxy').metadata, namespace: 'kube-system' } },
    ]);
    tell(api, 'node-1', statusOf('node-1', { inside: ['in'], outside: ['proxy'] }));
    const all = await run('pods -A');
    assert.equal(all.code, 0);
    assert.match(all.out, /^NAMESPACE {5}NAME .*\neval .*\nkube-system +proxy +no +no /);
    api.list('/api/v1/namespaces/empty/pods', []);
    const none = await run('pods -n empty');
    assert.deepEqual([none.code, none.out, none.err], [0, '', 'No pod runs in the namespace empty.\n']);
  });

  it('does not claim what it cannot see', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [
      podOf('a', { runtimeClassName: 'gvisor' }),
      podOf('b', { runtimeClassName: 'gvisor', nodeName: 'node-2' }),
    ]);
    const port = (node: string) => `${AGENTS}/agent-${node}/portforward`;
    for (const node of ['node-1', 'node-2'])
      api.behind.set(port(node), forbidden('create', 'pods/portforward', 'gvisor-ready'));
    const { code, out, err } = await run('pods');
    assert.equal(code, 2);
    assert.match(out, /^a +\? .*\nb +\? /m);
    assert.equal(
      err,
      'Nothing tells what pods run in: you may not ask agents: that needs the verbs get and create on pods/portforward in the namespace gvisor-ready.\n',
    );

    api.behind.set(port('node-1'), refusal(503, 'error trying to reach service: i/o timeout'));
    api.behind.delete(port('node-2'));
    tell(api, 'node-2', {
      ...statusOf('node-2', { inside: ['b'] }),
      pods: { ...statusOf('node-2', { inside: ['b'] }).pods, stale: true },
    });
    const dark = await run('pods');
    assert.equal(dark.code, 2);
    assert.match(
      dark.err,
      /^It is not known what 2 pods run in: the API server does not reach the agent: .*; the agent last read the pods of its node at /,
    );

    api.list(AGENTS, [agentOf('node-2', { waiting: 'CrashLoopBackOff' })]);
    assert.match((await run('pods')).err, /no agent runs on its node/);
    api.behind.set(AGENTS, forbidden('list', 'pods', 'gvisor-ready'));
    api.behind.set('/api/v1/namespaces', forbidden('list', 'namespaces'));
    const hidden = await run('pods');
    assert.equal(hidden.code, 2);
    assert.equal(
      hidden.err,
      'You may not list the pods of gvisor-ready, namespaces, so this is not all that there is to say.\n' +
        'It is not known what 2 pods run in: you may not list the pods of gvisor-ready.\n',
    );
  });

  it('says why a port is not forwarded', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [podOf('a', { runtimeClassName: 'gvisor' })]);
    const report = `${AGENTS}/agent-node-1:9477/proxy/report`;
    api.behind.delete(report);
    assert.match((await run('pods')).err, /the agent on node-1 gave no report: connection refused\.$/m);
    for (const silent of [report, `${AGENTS}/agent-node-1/portforward`]) {
      api.behind.set(silent, null);
      const { code, err } = await run('pods --request-timeout 500ms');
      assert.equal(code, 2);
      assert.match(err, /the agent on node-1 gave no report: no answer within 0\.5 s\.$/m);
    }
  });

  it('is for programs as JSON', async (t) => {
    const { api, run } = await openFleet(t);
    api.list(EVAL, [podOf('in', { runtimeClassName: 'gvisor' })]);
    tell(api, 'node-1', statusOf('node-1', { inside: ['in'] }));
    const { pods } = JSON.parse((await run('pods -o json')).out) as { pods: object[] };
    assert.deepEqual(pods, [
      {
        namespace: 'eval',
        name: 'in',
        node: 'node-1',
        runtimeClass: 'gvisor',
        wanted: true,
        inGvisor: 'yes',
        evidence: 'the first process on the node is that of gVisor',
      },
    ]);
  });
});
