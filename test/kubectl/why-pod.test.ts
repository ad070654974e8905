import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askPod, eventOf } from './ask-pod.ts';
import { forbidden } from './fake-api.ts';
import { tell } from './fleet.ts';
import { podOf, statusOf } from './fleet-objects.ts';
import { openFleet } from './open-fleet.ts';

const PORT = '/api/v1/namespaces/gvisor-ready/pods/agent-node-1/portforward';

describe('why POD that runs', () => {
  it('in gVisor', async (t) => {
    const { code, out } = await askPod(t, podOf('in', { runtimeClassName: 'gvisor' }), ({ api }) =>
      tell(api, 'node-1', statusOf('node-1', { inside: ['in'] })),
    );
    assert.equal(code, 0);
    assert.match(out, /^✓ eval\/in on node-1 runs in gVisor\n/);
    assert.match(out, /asks for: the RuntimeClass "gvisor", handler "runsc"; its namespace requires gVisor/);
  });

  it('on the kernel of the node, although its namespace requires gVisor', async (t) => {
    const { code, text } = await askPod(t, podOf('out'), ({ api }) =>
      tell(api, 'node-1', statusOf('node-1', { outside: ['out'] })),
    );
    assert.equal(code, 1);
    assert.match(text, /^✗ eval\/out on node-1 runs on the kernel of the node, not in gVisor/);
    assert.match(
      text,
      /the agent: process 812 is "\/pause" What to do End it, and create it again with runtimeClassName: gvisor/,
    );
  });

  it('on the kernel of the node, although it asks for gVisor', async (t) => {
    const { code, text } = await askPod(t, podOf('out', { runtimeClassName: 'gvisor' }), ({ api }) =>
      tell(api, 'node-1', statusOf('node-1', { outside: ['out'] })),
    );
    assert.equal(code, 1);
    assert.match(text, /its process is not that of gVisor: the handler of this node leads elsewhere/);
  });

  it('in gVisor with a way out to the host, and which', async (t) => {
    const { code, text } = await askPod(t, podOf('open', { runtimeClassName: 'gvisor' }), ({ api }) =>
      tell(api, 'node-1', statusOf('node-1', { open: ['open'] })),
    );
    assert.equal(code, 1);
    assert.match(text, /^✗ eval\/open on node-1 runs in gVisor, with a way out to the host/);
    assert.match(
      text,
      /the agent: process 813 is "runsc-sandbox" with host-uds=all: pods can open Unix sockets/,
    );
  });

  it('outside of gVisor, as it asks', async (t) => {
    const { code, text } = await askPod(t, podOf('out'), ({ api }) => {
      api.behind.set('/api/v1/namespaces/eval', { metadata: { name: 'eval' } });
      tell(api, 'node-1', statusOf('node-1', { outside: ['out'] }));
    });
    assert.equal(code, 0);
    assert.match(text, /runs outside of gVisor, as it asks/);
  });

  it('in something that nothing tells', async (t) => {
    const hidden = await askPod(t, podOf('in', { runtimeClassName: 'gvisor' }), ({ api }) =>
      api.behind.set(PORT, forbidden('create', 'pods/portforward', 'gvisor-ready')),
    );
    assert.equal(hidden.code, 2);
    assert.match(hidden.text, /runs, and nothing tells in what .*you may not ask agents/);
    const unseen = await askPod(t, podOf('new', { runtimeClassName: 'gvisor' }));
    assert.equal(unseen.code, 2);
    assert.match(unseen.text, /the agent has not seen it yet/);
  });

  it('for a person who may see little more than the pod', async (t) => {
    const { code, text } = await askPod(t, podOf('in', { runtimeClassName: 'gvisor' }), ({ api }) => {
      api.behind.set('/api/v1/nodes/in', forbidden('get', 'nodes'));
      api.behind.set('/api/v1/nodes', forbidden('list', 'nodes'));
      api.behind.set('/api/v1/namespaces/eval', forbidden('get', 'namespaces'));
      api.behind.set('/api/v1/namespaces/gvisor-ready/pods', forbidden('list', 'pods', 'gvisor-ready'));
      api.behind.set('/apis/node.k8s.io/v1/runtimeclasses/gvisor', forbidden('get', 'runtimeclasses'));
      api.behind.set('/api/v1/namespaces/eval/events', forbidden('list', 'events', 'eval'));
    });
    assert.equal(code, 2);
    assert.match(text, /^\? eval\/in on node-1 runs, and nothing tells in what/);
    assert.match(text, /not there or not to be seen; you may not see whether its namespace requires gVisor/);
    assert.match(text, /you may not list the pods of gvisor-ready/);
  });

  it('and says with an annotation that it is another pod, which does not help it', async (t) => {
    const forged = podOf('out', { runtimeClassName: 'gvisor' });
    const pod = {
      ...forged,
      metadata: {
        ...forged.metadata,
        annotations: { 'kubernetes.io/config.hash': 'uid-in', 'kubernetes.io/config.mirror': 'uid-in' },
      },
    };
    const { code, text } = await askPod(t, pod, ({ api }) =>
      tell(api, 'node-1', statusOf('node-1', { inside: ['in'] })),
    );
    assert.equal(code, 2);
    assert.match(text, /the agent has not seen it yet/);
  });
});

describe('why POD that is over', () => {
  it('since its node had lost the label', async (t) => {
    const message = 'Pod was rejected: Predicate NodeAffinity failed';
    const { code, text } = await askPod(
      t,
      podOf(
        'gone',
        { nodeName: 'node-3', runtimeClassName: 'gvisor' },
        { phase: 'Failed', reason: 'NodeAffinity', message },
      ),
    );
    assert.equal(code, 1);
    assert.match(
      text,
      /^✗ eval\/gone was rejected by node-3 Pod was rejected: Predicate NodeAffinity failed The node lost its label/,
    );
    assert.match(text, /See why the node is not ready: kubectl gvisor-ready why node\/node-3/);
  });

  it('for its own reasons', async (t) => {
    assert.equal((await askPod(t, podOf('done', {}, { phase: 'Succeeded' }))).code, 0);
    const { code, text } = await askPod(
      t,
      podOf('done', {}, { phase: 'Failed', reason: 'Evicted', message: 'low on memory' }),
    );
    assert.equal(code, 1);
    assert.match(text, /has ended \(Failed\), which says nothing of gVisor Evicted: low on memory/);
  });

  it('before it was there, since the API server refuses it', async (t) => {
    const { api, run } = await openFleet(t);
    const message = `Error creating: pods "web-7dfb-hgttf" is forbidden: ValidatingAdmissionPolicy 'gvisor-ready-enforce' denied request: write runtimeClassName: gvisor`;
    api.list('/api/v1/namespaces/eval/events', [
      eventOf('FailedCreate', 'quota', 'web-1'),
      eventOf('FailedCreate', message, 'web-7dfb'),
    ]);
    for (const name of ['web', 'web-7dfb', 'web-7dfb-hgttf']) {
      const { code, out } = await run(`why ${name}`);
      assert.equal(code, 1);
      assert.match(
        out,
        new RegExp(`^✗ There is no pod eval/${name}: the API server refuses the pods of web-7dfb\\n`),
      );
      assert.match(out, /write runtimeClassName: gvisor/);
    }
    assert.equal((await run('why we')).code, 2);
  });
});
