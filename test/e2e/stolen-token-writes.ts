import { MINOR } from '../kubernetes-minor.ts';
import type { Patch } from './agent-token.ts';
import { DOMAIN } from './agents.ts';

/** A patch of a status: a condition that is forged. */
export const condition = (type: string) => ({
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
/** A patch of a Node: a label, removed with null. */
export const label = (key: string, value: string | null = 'x') => ({
  metadata: { labels: { [key]: value } },
});
/** The same of an annotation. */
const annotation = (key: string, value: string | null = 'x') => ({
  metadata: { annotations: { [key]: value } },
});

/** Where events on Nodes are created. */
export const EVENTS = '/api/v1/namespaces/default/events';
/** An event that an agent on node-1 may create, unless changed. */
export const event = (changes: object = {}) => ({
  metadata: { generateName: 'node-writes.' },
  involvedObject: { kind: 'Node', name: 'node-1' },
  reason: 'Forged',
  message: 'forged',
  type: 'Normal',
  source: { component: 'gvisor-ready', host: 'node-1' },
  ...changes,
});

/** Writes of a Node that an agent on node-1 is refused, and why. */
export const REFUSED_WRITES: readonly (readonly [what: string, attempt: Patch, why: RegExp])[] = [
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
  ['another annotation', { node: 'node-1', patch: annotation('a') }, /only the annotation/],
  [
    'an annotation of its domain that is not its own',
    { node: 'node-1', patch: annotation(`${DOMAIN}/other`) },
    /only the annotation/,
  ],
  [
    'removing another annotation',
    { node: 'node-1', patch: annotation('volumes.kubernetes.io/controller-managed-attach-detach', null) },
    /only the annotation/,
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
  [
    'the declared features of its node, which API servers before 1.35 drop',
    { node: 'node-1', status: true, patch: { status: { declaredFeatures: ['Stolen'] } } },
    MINOR < 35 ? /^$/ : /rest of its Node/,
  ],
  [
    'removing the capacity of its node',
    { node: 'node-1', status: true, patch: { status: { capacity: null } } },
    /rest of its Node/,
  ],
  [
    'a prefix for a generated name',
    { node: 'node-1', patch: { metadata: { generateName: 'forged-' } } },
    /rest of its Node's metadata/,
  ],
  [
    'the annotation of earlier versions that claimed the node',
    { node: 'node-1', patch: annotation(`${DOMAIN}/agent`) },
    /only the annotation/,
  ],
  ['a label through the status', { node: 'node-1', status: true, patch: label('team') }, /only labels of/],
];

/** Events that an agent on node-1 is refused, and why; in the namespace of {@link EVENTS} unless another path is given. */
export const REFUSED_EVENTS: readonly (readonly [what: string, body: object, why: RegExp, path?: string])[] =
  [
    [
      'an event on another node',
      event({ involvedObject: { kind: 'Node', name: 'node-2' } }),
      /only on its own Node/,
    ],
    ['an event on a pod', event({ involvedObject: { kind: 'Pod', name: 'node-1' } }), /only on its own Node/],
    [
      "an event in the kubelet's name",
      event({ source: { component: 'kubelet', host: 'node-1' } }),
      /under the name gvisor-ready/,
    ],
    [
      "an event in another node's name",
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
