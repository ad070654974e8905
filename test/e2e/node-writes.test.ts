import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runAll } from '../../hack/run.ts';
import { type Patch, send, tokenOf, write } from './agent-token.ts';
import { useCluster } from './e2e-cluster.ts';

const cluster = useCluster();
const DOMAIN = 'gvisor.node-restriction.kubernetes.io';

const condition = (type: string) => ({
  status: {
    conditions: [
      {
        type,
        status: 'False',
        reason: 'Forged',
        message: 'forged',
        lastTransitionTime: '2026-01-01T00:00:00Z',
      },
    ],
  },
});
const label = (key: string, value: string | null = 'x') => ({ metadata: { labels: { [key]: value } } });
const annotation = (key: string, value: string | null = 'x') => ({
  metadata: { annotations: { [key]: value } },
});
const EVENTS = '/api/v1/namespaces/default/events';
/** An event that an agent on node-1 may create, unless changed. */
const event = (changes: object = {}) => ({
  metadata: { generateName: 'node-writes.' },
  involvedObject: { kind: 'Node', name: 'node-1' },
  reason: 'Forged',
  message: 'forged',
  type: 'Normal',
  source: { component: 'gvisor-ready', host: 'node-1' },
  ...changes,
});

const REFUSED: readonly (readonly [what: string, attempt: Patch, why: RegExp])[] = [
  [
    'the label of another node',
    { node: 'node-2', patch: label(`${DOMAIN}/ready`, 'false') },
    /only its own Node/,
  ],
  [
    'the condition of another node',
    { node: 'node-2', status: true, patch: condition('GVisorReady') },
    /only its own Node/,
  ],
  ['another label of its node', { node: 'node-1', patch: label('team') }, /only labels of/],
  [
    'a label whose domain only begins alike',
    { node: 'node-1', patch: label(`${DOMAIN}.evil/ready`) },
    /only labels of/,
  ],
  ['removing another label', { node: 'node-1', patch: label('kubernetes.io/os', null) }, /only labels of/],
  [
    'changing another label',
    { node: 'node-1', patch: label('kubernetes.io/hostname', 'x') },
    /only labels of/,
  ],
  [
    'a label of its domain that is not its own',
    { node: 'node-1', patch: label(`${DOMAIN}/other`) },
    /only labels of/,
  ],
  ['another annotation', { node: 'node-1', patch: annotation('a') }, /only annotations of/],
  [
    'an annotation of its domain that is not its own',
    { node: 'node-1', patch: annotation(`${DOMAIN}/other`) },
    /only annotations of/,
  ],
  [
    'removing another annotation',
    { node: 'node-1', patch: annotation('volumes.kubernetes.io/controller-managed-attach-detach', null) },
    /only annotations of/,
  ],
  [
    'the annotation of another node',
    { node: 'node-2', patch: annotation(`${DOMAIN}/proven-by`, null) },
    /only its own Node/,
  ],
  ['a finalizer', { node: 'node-1', patch: { metadata: { finalizers: ['a.example/b'] } } }, /finalizers/],
  [
    'an owner reference',
    {
      node: 'node-1',
      patch: {
        metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-2', uid: '1' }] },
      },
    },
    /owner references/,
  ],
  ['a taint', { node: 'node-1', patch: { spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } } }, /spec/],
  ['cordoning its node', { node: 'node-1', patch: { spec: { unschedulable: true } } }, /spec/],
  [
    'the condition Ready of its node',
    { node: 'node-1', status: true, patch: condition('Ready') },
    /only the condition GVisorReady/,
  ],
  [
    'a new condition of its node',
    { node: 'node-1', status: true, patch: condition('Other') },
    /only the condition GVisorReady/,
  ],
  [
    'the capacity of its node',
    { node: 'node-1', status: true, patch: { status: { capacity: { 'example.com/gpu': '8' } } } },
    /rest of its Node/,
  ],
  [
    'the addresses of its node',
    {
      node: 'node-1',
      status: true,
      patch: { status: { addresses: [{ type: 'InternalIP', address: '10.0.0.1' }] } },
    },
    /rest of its Node|addresses/,
  ],
  ['a label through the status', { node: 'node-1', status: true, patch: label('team') }, /only labels of/],
];

describe('what a stolen token of one node cannot write', () => {
  for (const [what, attempt, why] of REFUSED) {
    it(what, async () => {
      assert.match(await write(cluster(), await tokenOf(cluster(), 'node-1'), attempt), why);
    });
  }

  it('anything, when the token is not bound to a pod', async () => {
    const token = (
      await cluster().kubectl(['create', 'token', '-n', 'gvisor-ready', 'gvisor-ready-agent'])
    ).trim();
    assert.match(
      await write(cluster(), token, { node: 'node-1', patch: label(`${DOMAIN}/ready`, 'false') }),
      /only its own Node/,
    );
  });

  const events: readonly (readonly [what: string, body: object, why: RegExp, path?: string])[] = [
    [
      'an event on another node',
      event({ involvedObject: { kind: 'Node', name: 'node-2' } }),
      /only on its own Node/,
    ],
    ['an event on a pod', event({ involvedObject: { kind: 'Pod', name: 'node-1' } }), /only on its own Node/],
    [
      'an event in the kubelet’s name',
      event({ source: { component: 'kubelet', host: 'node-1' } }),
      /under the name gvisor-ready/,
    ],
    [
      'an event in another node’s name',
      event({ source: { component: 'gvisor-ready', host: 'node-2' } }),
      /only in the name of its own node/,
    ],
    [
      'an event on a pod of another namespace',
      event({ involvedObject: { kind: 'Pod', name: 'a', namespace: 'eval' }, reason: 'UnsandboxedPod' }),
      /involvedObject.namespace|only on its own Node/,
    ],
    [
      'an event on its Node in another namespace',
      event({ metadata: { generateName: 'a.', namespace: 'kube-system' } }),
      /does not match event.namespace|only on its own Node/,
      '/api/v1/namespaces/kube-system/events',
    ],
  ];
  for (const [what, body, why, path = EVENTS] of events) {
    it(what, async () => {
      const type = 'json';
      assert.match(
        await send(cluster(), await tokenOf(cluster(), 'node-1'), { method: 'POST', path, type, body }),
        why,
      );
    });
  }

  for (const [what, path] of [
    ['a Node away', '/api/v1/nodes/node-1'],
    ['a pod away', '/api/v1/namespaces/gvisor-ready/pods/any'],
  ] as const) {
    it(what, async () => {
      const answer = await send(cluster(), await tokenOf(cluster(), 'node-1'), {
        method: 'DELETE',
        path,
        type: 'json',
      });
      assert.match(answer, /^403 .* cannot delete resource/);
    });
  }

  it('while its own keys are accepted', async () => {
    const token = await tokenOf(cluster(), 'node-3');
    const path = 'jsonpath={.status.conditions[?(@.type=="GVisorReady")]}';
    const was: unknown = JSON.parse(await cluster().kubectl(['get', 'node', 'node-3', '-o', path]));
    assert.equal(
      await write(cluster(), token, { node: 'node-3', patch: label(`${DOMAIN}/platform`, 'written') }),
      '',
    );
    assert.equal(
      await write(cluster(), token, { node: 'node-3', patch: label(`${DOMAIN}/platform`, null) }),
      '',
    );
    const source = { component: 'gvisor-ready', host: 'node-3' };
    const own = event({ involvedObject: { kind: 'Node', name: 'node-3' }, source });
    assert.equal(await send(cluster(), token, { method: 'POST', path: EVENTS, type: 'json', body: own }), '');
    const written: Patch = { node: 'node-3', status: true, patch: condition('GVisorReady') };
    assert.equal(await write(cluster(), token, written), '');
    assert.equal(await write(cluster(), token, { ...written, patch: { status: { conditions: [was] } } }), '');
  });

  it('and a kubelet cannot write the label of its own node either', async () => {
    const patch = JSON.stringify(label(`${DOMAIN}/ready`, 'true'));
    const { command, args } = cluster().kubectlCommand([
      'patch',
      'node',
      'node-3',
      '--type=merge',
      '-p',
      patch,
    ]);
    const machine = cluster().node('node-3').machine;
    const kubeconfig = ['--kubeconfig', '/etc/kubernetes/kubelet.kubeconfig'];
    const { code, stderr } = await runAll('nsenter', machine.enter(command, ...kubeconfig, ...args.slice(2)));
    assert.equal(code, 1);
    assert.match(stderr, /is not allowed to modify labels/);
  });
});
