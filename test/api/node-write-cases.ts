import assert from 'node:assert/strict';
import { DOMAIN } from '../e2e/agents.ts';
import { MINOR } from '../kubernetes-minor.ts';
import { accepted, assertAccepted, type Case, type Group, refused } from './admission-case.ts';
import type { UserName } from './admission-cluster.ts';
import { whileSet } from './admission-setting-cases.ts';
import type { ApiCall } from './api-user.ts';
import { READY_KEY } from './fleet-objects.ts';

const DRY = '?dryRun=All';
const nodePath = (node: string, subresource = '') => `/api/v1/nodes/${node}${subresource}${DRY}`;
/** Merges something into a Node, in a dry run. */
const patch = (body: object, node = 'node-1'): ApiCall => ({ method: 'PATCH', path: nodePath(node), body });
/** The same through the status, as agents write. */
const status = (body: object, node = 'node-1'): ApiCall => ({
  method: 'PATCH',
  path: nodePath(node, '/status'),
  patch: 'strategic-merge-patch+json',
  body,
});
/** Labels and annotations, removed with null. */
const label = (key: string, value: string | null = 'x') => ({ metadata: { labels: { [key]: value } } });
const annotation = (key: string, value: string | null = 'x') => ({
  metadata: { annotations: { [key]: value } },
});
const condition = (type: string, part: object = {}) => ({
  type,
  status: 'False',
  reason: 'Forged',
  message: 'forged',
  lastHeartbeatTime: '2026-01-01T00:00:00Z',
  lastTransitionTime: '2026-01-01T00:00:00Z',
  ...part,
});
const conditions = (...list: readonly object[]) => ({ status: { conditions: list } });

/** A write that is denied by a policy without a `reason`. */
const not = (what: string, call: ApiCall, why: RegExp, as: UserName = 'agent') =>
  refused(what, call, why, { as, code: 422 });

/** A write that both policies deny, each with its own message. */
const never = (what: string, call: ApiCall, as: UserName = 'agent'): Case => ({
  what: `${as}: ${what} is refused`,
  run: async (on) => {
    const { code, message } = await on.as(as, call);
    assert.ok(code >= 400, `responded ${code}`);
    assert.match(message, /only its own Node|needs the verb manage-gvisor-readiness/);
  },
});

const OTHER_NODES: readonly Case[] = [
  never('the label of another node', status(label(READY_KEY, 'true'), 'node-2')),
  never('the condition of another node', status(conditions(condition('GVisorReady')), 'node-3')),
  never('the annotation of another node', status(annotation(`${DOMAIN}/proven-by`, null), 'node-2')),
  never('its own label without a pod', status(label(READY_KEY, 'false')), 'unboundAgent'),
  not('another label of another node', status(label('x'), 'node-2'), /only its own Node/),
  not('an empty patch of another node', status({}, 'node-2'), /only its own Node/),
  not('anything without a pod', status(label('x')), /pod on ""/, 'unboundAgent'),
  refused(
    'a label, regardless of the name of its policy',
    status(label(READY_KEY, 'true'), 'node-2'),
    /needs the verb manage-gvisor-readiness on the node "node-2"/,
    { as: 'renamed' },
  ),
  not('a new Node', { method: 'POST', path: `/api/v1/nodes${DRY}`, body: newNode({}) }, /own Node|no Node/),
  not('its Node deleted', { method: 'DELETE', path: nodePath('node-1') }, /creates and deletes no Node/),
  not(
    'its Node recreated',
    { method: 'POST', path: `/api/v1/nodes${DRY}`, body: newNode({}, 'node-1') },
    /creates and deletes no Node|resulted in error/,
  ),
];

/** A Node that does not exist. */
function newNode(metadata: object, name = 'node-7'): object {
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, ...metadata } };
}

const OWN_NODE: readonly Case[] = [
  ...[patch, status].flatMap((how) => [
    not('another label', how(label('forged')), /only labels of/),
    not('another label changed', how(label('team')), /only labels of/),
    not('another label removed', how(label('team', null)), /only labels of/),
    not(
      'a label whose domain only has the same prefix',
      how(label(`${DOMAIN}.evil/ready`)),
      /only labels of/,
    ),
    not('an unknown label of the domain', how(label(`${DOMAIN}/other`)), /only labels of/),
    not('another annotation', how(annotation('a')), /only annotations of/),
    not('another annotation changed', how(annotation('team')), /only annotations of/),
    not('another annotation removed', how(annotation('team', null)), /only annotations of/),
    not('a retired annotation', how(annotation(`${DOMAIN}/agent`)), /only annotations of/),
    not('an unknown annotation of the domain', how(annotation(`${DOMAIN}/other`)), /only annotations of/),
    not('a finalizer', how({ metadata: { finalizers: ['a.example/b'] } }), /finalizers/),
    not('the finalizers removed', how({ metadata: { finalizers: null } }), /finalizers/),
    not('its owners removed', how({ metadata: { ownerReferences: null } }), /owner references/),
    not('another owner', how(owner()), /owner references/),
    not('generateName', how({ metadata: { generateName: 'forged-' } }), /rest of its Node's metadata/),
  ]),
  not('a taint', patch({ spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } }), /the spec/),
  not('its taints removed', patch({ spec: { taints: null } }), /the spec/),
  not('the node uncordoned', patch({ spec: { unschedulable: null } }), /the spec/),
  not('the condition Ready', status(conditions(condition('Ready'))), /only the condition GVisorReady/),
  not('a new condition', status(conditions(condition('Other'))), /only the condition GVisorReady/),
  not(
    'another condition removed',
    status(conditions({ $patch: 'delete', type: 'Ready' })),
    /only the condition GVisorReady/,
  ),
  not('a second condition GVisorReady', twice(), /the condition GVisorReady once/),
  not(
    'the capacity',
    status({ status: { capacity: { 'example.com/gpu': '8' } } }),
    /rest of its Node's status/,
  ),
  not('the capacity removed', status({ status: { capacity: null } }), /rest of its Node's status/),
  not(
    'the port of the kubelet',
    status({ status: { daemonEndpoints: { kubeletEndpoint: { Port: 9477 } } } }),
    /rest of its Node's status/,
  ),
  MINOR < 35
    ? accepted('features that this API server drops', status({ status: { declaredFeatures: ['Stolen'] } }), {
        as: 'agent',
      })
    : not(
        'the declared features',
        status({ status: { declaredFeatures: ['Stolen'] } }),
        /rest of its Node's status/,
      ),
];

function owner(): object {
  return { metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-3', uid: '1' }] } };
}

/** Adds a second condition of a type, which only a JSON patch can. */
function twice(): ApiCall {
  const value = condition('GVisorReady', { status: 'True' });
  const body = [{ op: 'add', path: '/status/conditions/-', value }];
  return { method: 'PATCH', path: nodePath('node-1', '/status'), patch: 'json-patch+json', body };
}

const OWN: readonly Case[] = [
  ...['ready', 'runsc-version', 'platform'].flatMap((name) => [
    accepted(`its label ${name}`, status(label(`${DOMAIN}/${name}`, 'false')), { as: 'agent' }),
    accepted(`its label ${name} removed`, status(label(`${DOMAIN}/${name}`, null)), { as: 'agent' }),
  ]),
  ...['proven-by', 'proven-boot'].flatMap((name) => [
    accepted(`its annotation ${name}`, status(annotation(`${DOMAIN}/${name}`)), { as: 'agent' }),
    accepted(`its annotation ${name} removed`, status(annotation(`${DOMAIN}/${name}`, null)), {
      as: 'agent',
    }),
  ]),
  accepted('its condition', status(conditions(condition('GVisorReady'))), { as: 'agent' }),
  accepted('its condition removed', status(conditions({ $patch: 'delete', type: 'GVisorReady' })), {
    as: 'agent',
  }),
  accepted(
    'its annotation removed, the last of the Node,',
    status(annotation(`${DOMAIN}/proven-by`, null), 'node-3'),
    {
      as: 'agent3',
    },
  ),
  accepted('its first condition', status(conditions(condition('GVisorReady')), 'node-3'), { as: 'agent3' }),
  {
    what: 'agent: its condition is accepted beside an older duplicate',
    exclusive: true,
    run: async ({ as }) => {
      const path = '/api/v1/nodes/node-1/status';
      const was = (await as('admin', { method: 'GET', path })).body as { status: { conditions: object[] } };
      assertAccepted(await as('admin', { ...twice(), path }));
      try {
        assertAccepted(await as('agent', status(conditions(condition('GVisorReady')))));
        assert.equal((await as('agent', twice())).code, 422);
      } finally {
        assertAccepted(
          await as('admin', { method: 'PATCH', path, body: conditions(...was.status.conditions) }),
        );
      }
    },
  },
];

/** A write is denied if an expression fails. */
export const closed = (policy: string, as: UserName, call: ApiCall): Case =>
  whileSet(
    [policy, FIRST_VARIABLE[policy] ?? '', 'dyn(string(1 / 0))'],
    [refused('its own write', call, /division by zero/, { as, code: 422 })],
  );
/** The variable of each policy that every write evaluates. */
const FIRST_VARIABLE: Readonly<Record<string, string>> = {
  'gvisor-ready-agent': 'node',
  'gvisor-ready-agent-events': 'event',
  'gvisor-ready-node-keys': 'domain',
  'gvisor-ready-fleet': 'ready',
  'gvisor-ready-fleet-events': 'event',
};

const CLAIM =
  /gvisor-ready writes .* of Nodes: anyone else needs the verb manage-gvisor-readiness on the node "/;
/** The keys of a proof, written by clients that may write Nodes. */
const KEYS: readonly Case[] = [
  ...(['nodeAdmin', 'detector'] as const).flatMap((as) => [
    refused('the label granted', status(label(READY_KEY, 'true'), 'node-2'), CLAIM, { as }),
    refused('a new label of the domain', status(label(`${DOMAIN}/x`), 'node-3'), CLAIM, { as }),
    refused('the label removed', status(label(READY_KEY, null)), CLAIM, { as }),
    refused('a new annotation', status(annotation(`${DOMAIN}/proven-by`), 'node-3'), CLAIM, { as }),
    refused('the annotation changed', status(annotation(`${DOMAIN}/proven-by`)), CLAIM, { as }),
    refused('the annotation removed', status(annotation(`${DOMAIN}/proven-by`, null)), CLAIM, { as }),
    refused(
      'the condition',
      status(conditions(condition('GVisorReady', { status: 'True' })), 'node-2'),
      /writes the condition GVisorReady of Nodes/,
      { as },
    ),
    refused('a new condition', status(conditions(condition('GVisorReady')), 'node-3'), CLAIM, { as }),
    refused('the condition removed', status(conditions({ $patch: 'delete', type: 'GVisorReady' })), CLAIM, {
      as,
    }),
    accepted('a label removed whose domain only has the same suffix', status(label(`a.${DOMAIN}/x`, null)), {
      as,
    }),
    accepted('an annotation whose domain only has the same suffix', status(annotation(`a.${DOMAIN}/x`)), {
      as,
    }),
    accepted('it removed', status(annotation(`a.${DOMAIN}/x`, null)), { as }),
    accepted('another label', status(label('x')), { as }),
    accepted('another annotation', status(annotation('x')), { as }),
    accepted('a label whose domain only has the same suffix', status(label(`a.${DOMAIN}/ready`)), { as }),
    accepted('another condition', status(conditions(condition('KernelDeadlock'))), { as }),
  ]),
  refused('the label, from a pod on that node,', status(label(READY_KEY, 'false')), CLAIM, {
    as: 'otherPod',
  }),
  refused('the label, with the verb of agents and no pod,', status(label(READY_KEY, 'false')), CLAIM, {
    as: 'reporter',
  }),
  refused('the label through the Node itself', patch(label(READY_KEY, 'true'), 'node-2'), CLAIM, {
    as: 'nodeAdmin',
  }),
  refused(
    'a new Node with the label',
    { method: 'POST', path: `/api/v1/nodes${DRY}`, body: newNode({ labels: { [READY_KEY]: 'true' } }) },
    CLAIM,
    { as: 'nodeAdmin' },
  ),
  accepted(
    'a new Node without',
    { method: 'POST', path: `/api/v1/nodes${DRY}`, body: newNode({ labels: { a: 'b' } }) },
    { as: 'nodeAdmin' },
  ),
  accepted('the taint of the component', patch({ spec: { taints: [taint()] } }), { as: 'nodeAdmin' }),
  accepted('its own node', status(label(READY_KEY, 'false')), { as: 'renamed' }),
  ...(['admin', 'uninstaller'] as const).flatMap((as) => [
    accepted('the label removed', status(label(READY_KEY, null)), { as }),
    accepted('the annotation removed', status(annotation(`${DOMAIN}/proven-by`, null)), { as }),
    accepted('the condition removed', status(conditions({ $patch: 'delete', type: 'GVisorReady' })), { as }),
  ]),
  refused('the label of its own node', status(label(READY_KEY, 'false')), /is not allowed to modify labels/, {
    as: 'kubelet',
  }),
  accepted('its report', status(conditions(condition('Ready', { status: 'True' }))), { as: 'kubelet' }),
  accepted('its own annotation', status(annotation(`${DOMAIN}/proven-by`, 'x')), { as: 'kubelet' }),
];

function taint(): object {
  return { key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' };
}

const EVENTS = '/api/v1/namespaces/default/events';
/** An event that an agent on node-1 may create, unless changed. */
function event(changes: object = {}, path = EVENTS): ApiCall {
  return {
    method: 'POST',
    path: `${path}${DRY}`,
    body: {
      metadata: { generateName: 'node-writes.' },
      involvedObject: { kind: 'Node', name: 'node-1' },
      reason: 'SandboxProven',
      message: 'm',
      type: 'Normal',
      source: { component: 'gvisor-ready', host: 'node-1' },
      ...changes,
    },
  };
}
const pod = (namespace: string, part: object = {}) => ({
  involvedObject: { kind: 'Pod', name: 'a', namespace },
  reason: 'UnsandboxedPod',
  ...part,
});
const elsewhere = '/api/v1/namespaces/other/events';
const EVENT_FORMAT = /events of a message of 1,024 characters at the most, without labels and annotations/;

const AGENT_EVENTS: readonly Case[] = [
  accepted('an event on its Node', event(), { as: 'agent' }),
  accepted('an event on its Node with the longest message', event({ message: 'm'.repeat(1_024) }), {
    as: 'agent',
  }),
  accepted('an event on a pod outside gVisor', event(pod('other'), elsewhere), { as: 'agent' }),
  accepted('an event on a weakened pod', event(pod('other', { reason: 'WeakenedPod' }), elsewhere), {
    as: 'agent',
  }),
  accepted('an event with the newer name', event({ reportingComponent: 'gvisor-ready' }), { as: 'agent' }),
  not('an event on another node', event({ involvedObject: { kind: 'Node', name: 'node-2' } }), /own Node/),
  not('an event on nothing', event({ involvedObject: {} }), /own Node/),
  not('another event on a pod', event(pod('other', { reason: 'Other' }), elsewhere), /own Node/),
  not(
    'an event on another kind',
    event(pod('other', { involvedObject: { kind: 'Job', namespace: 'other' } }), elsewhere),
    /own Node/,
  ),
  not(
    'an event on its Node in another namespace',
    event({ involvedObject: { kind: 'Node', name: 'node-1', namespace: 'other' } }, elsewhere),
    /own Node/,
  ),
  not(
    'an event on another kind of its name',
    event({ involvedObject: { kind: 'Job', name: 'node-1', namespace: 'default' } }),
    /own Node/,
  ),
  not(
    'an event on a pod without a pod',
    event(pod('other', { source: { component: 'gvisor-ready' } }), elsewhere),
    /pod on ""/,
    'unboundAgent',
  ),
  refused('an event without a pod', event(), /pod on ""/, { as: 'unboundAgent', code: 422 }),
  not(
    "an event in the kubelet's name",
    event({ source: { component: 'kubelet', host: 'node-1' } }),
    /under the name gvisor-ready/,
  ),
  not('an event without a name', event({ source: { host: 'node-1' } }), /under the name gvisor-ready/),
  not(
    'an event reported by the kubelet',
    event({ reportingComponent: 'kubelet' }),
    /under the name gvisor-ready/,
  ),
  not(
    'an event reported by another node',
    event({ reportingComponent: 'gvisor-ready', reportingInstance: 'node-2' }),
    /under the name gvisor-ready/,
  ),
  not(
    "an event in another node's name",
    event({ source: { component: 'gvisor-ready', host: 'node-2' } }),
    /name of its own node/,
  ),
  ...['labels', 'annotations'].map((field) =>
    not(
      `an event with ${field}`,
      event({ metadata: { generateName: 'a.', [field]: { a: 'b' } } }),
      EVENT_FORMAT,
    ),
  ),
  not(
    'an event with finalizers',
    event({ metadata: { generateName: 'a.', finalizers: ['a.example/b'] } }),
    EVENT_FORMAT,
  ),
  not(
    'an event with owners',
    event({ metadata: { generateName: 'a.', ...(owner() as { metadata: object }).metadata } }),
    EVENT_FORMAT,
  ),
  not('an event with a related object', event({ related: { kind: 'Pod', name: 'a' } }), EVENT_FORMAT),
  not('an event of an action', event({ action: 'a' }), EVENT_FORMAT),
  not(
    'an event of a series',
    event({ series: { count: 2, lastObservedTime: '2026-01-01T00:00:00.000000Z' } }),
    EVENT_FORMAT,
  ),
  not('a message that is too long', event({ message: 'm'.repeat(1_025) }), EVENT_FORMAT),
  not('a reason that is too long', event({ reason: 'R'.repeat(129) }), EVENT_FORMAT),
  not(
    'an object that is too long',
    event({ involvedObject: { kind: 'Node', name: 'node-1', uid: 'u'.repeat(254) } }),
    EVENT_FORMAT,
  ),
  ...eventChanges('agent'),
];

/** Clients that may only create events cannot change or delete one, regardless of RBAC. */
export function eventChanges(as: 'agent' | 'fleet'): readonly Case[] {
  const source =
    as === 'agent' ? { component: 'gvisor-ready', host: 'node-1' } : { component: 'gvisor-ready-fleet' };
  const made = event({ reason: 'AgentLost', source, metadata: { name: `${as}-${process.pid}` } });
  const path = `${EVENTS}/${as}-${process.pid}`;
  return (['PATCH', 'DELETE'] as const).map((method) => ({
    what: `${as}: ${method} of an event that exists is refused`,
    exclusive: true,
    run: async ({ as: call }) => {
      const { code, message } = await call('admin', { ...made, path: EVENTS });
      assert.ok([201, 409].includes(code), message);
      const response = await call(as, {
        method,
        path: `${path}${DRY}`,
        ...(method === 'PATCH' ? { body: { count: 2 } } : {}),
      });
      assert.equal(response.code, 422, response.message);
      assert.match(response.message, /changes and deletes no event|resulted in error/);
      assertAccepted(await call('admin', { method: 'GET', path }));
    },
  }));
}

/** With the component `taint`: the agent's own taint, and nothing else of the spec. */
const TAINTS: readonly Case[] = [
  accepted('its taint removed beside another', patch({ spec: { taints: [otherTaint()] } }), { as: 'agent' }),
  accepted('its taint added', patch({ spec: { taints: [taint()] } }, 'node-4'), { as: 'agent4' }),
  accepted('its taint removed, the last of the Node,', patch({ spec: { taints: null } }, 'node-3'), {
    as: 'agent3',
  }),
  ...[
    { taints: [otherTaint(), { key: 'other', effect: 'NoSchedule' }] },
    { taints: [otherTaint(), { ...taint(), effect: 'PreferNoSchedule' }] },
    { taints: [taint()] },
    { taints: [otherTaint(), taint()], unschedulable: null },
    { unschedulable: null },
    { providerID: 'forged' },
  ].map((spec) => not(`the spec ${JSON.stringify(spec)}`, patch({ spec }), /the spec of its Node/)),
];
function otherTaint(): object {
  return { ...taint(), effect: 'NoExecute' };
}

/** Writes of Nodes and events with the base, by agents and other clients. */
export const NODE_GROUPS: readonly Group[] = [
  { title: "an agent's token and other nodes", cases: OTHER_NODES },
  { title: "an agent's token and its own node", cases: OWN_NODE },
  { title: "an agent's token and its own keys", cases: OWN },
  { title: "the agents' keys, written by other clients", cases: KEYS },
  { title: 'events', cases: AGENT_EVENTS },
  {
    title: 'a failing policy denies writes',
    cases: [
      closed('gvisor-ready-agent', 'agent', status(label(`${DOMAIN}/platform`))),
      closed('gvisor-ready-node-keys', 'nodeAdmin', status(label('x'))),
      closed('gvisor-ready-agent-events', 'agent', event()),
    ],
  },
];

export const TAINT_GROUPS: readonly Group[] = [
  { title: 'with the component taint', cases: [...TAINTS, ...OWN_NODE.slice(0, 4)] },
];
