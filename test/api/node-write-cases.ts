import assert from 'node:assert/strict';
import { DOMAIN } from '../e2e/agents.ts';
import { MINOR } from '../kubernetes-minor.ts';
import {
  accepted,
  assertAccepted,
  type Case,
  dryRun,
  type Group,
  refused,
  withMessage,
} from './admission-case.ts';
import type { UserName } from './admission-cluster.ts';
import {
  annotations,
  container,
  create,
  patch as patchOf,
  remove,
  strategicPatch,
} from './admission-objects.ts';
import { createMirror } from './admission-pod-cases.ts';
import { whileSet } from './admission-setting-cases.ts';
import type { ApiCall } from './api-user.ts';

/** The taint of agents. */
export const TAINT = { key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' };
/** The other taints of node-1. */
const OTHERS = [
  { ...TAINT, effect: 'NoExecute' },
  { key: 'other', effect: 'NoSchedule' },
] as const;
const taints = (...list: readonly object[]) => ({ spec: { taints: list } });
const nodePath = (node: string, subresource = '') => `/api/v1/nodes/${node}${subresource}`;
const patch = (body: object, node = 'node-1') => patchOf(nodePath(node), body);
/** The same through the status, as agents write. */
const status = (body: object, node = 'node-1') => strategicPatch(nodePath(node, '/status'), body);
const createNode = (metadata: object, name = 'node-7'): ApiCall => ({
  method: 'POST',
  path: '/api/v1/nodes',
  body: { apiVersion: 'v1', kind: 'Node', metadata: { name, ...metadata } },
});
/** Labels and annotations, removed with null. */
const label = (key: string, value: string | null = 'x') => ({ metadata: { labels: { [key]: value } } });
const annotation = (key: string, value: string | null = 'x') => ({
  metadata: { annotations: { [key]: value } },
});
const conditions = (...list: readonly object[]) => ({ status: { conditions: list } });
const condition = (type: string, part: object = {}) =>
  conditions({
    type,
    status: 'False',
    reason: 'Forged',
    message: 'forged',
    lastHeartbeatTime: '2026-01-01T00:00:00Z',
    lastTransitionTime: '2026-01-01T00:00:00Z',
    ...part,
  });
const withoutCondition = (type: string) => conditions({ $patch: 'delete', type });
const READY = `${DOMAIN}/ready`;
const PROVEN_BY = `${DOMAIN}/proven-by`;
const PROVEN_BOOT = `${DOMAIN}/proven-boot`;
const OWNERS = { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-3', uid: '1' }] };

/** Writes of an agent that both policies deny, each with its own code and message. */
const never = (as: UserName, calls: Readonly<Record<string, ApiCall>>): readonly Case[] =>
  Object.entries(calls).map(([what, call]) => ({
    what: `${as}: ${what} is refused`,
    run: async (on) => {
      const { code, message } = await on.as(as, dryRun(call));
      assert.ok(code >= 400, `responded ${code}`);
      assert.match(message, /only its own Node|needs the verb manage-gvisor-readiness/);
    },
  }));

const OTHER_NODES: readonly Case[] = [
  ...never('agent', {
    'the label of another node': status(label(READY, 'true'), 'node-2'),
    'the condition of another node': status(condition('GVisorReady'), 'node-3'),
    'the annotation of another node': status(annotation(PROVEN_BY, null), 'node-2'),
  }),
  ...never('unboundAgent', { 'its own label without a pod': status(label(READY, 'false')) }),
  ...refused(
    'agent',
    {
      'another label of another node': [status(label('x'), 'node-2'), /only its own Node/],
      'an empty patch of another node': [status({}, 'node-2'), /only its own Node/],
      'a new Node': [createNode({}), /own Node|no Node/],
      'its Node deleted': [remove(nodePath('node-1')), /creates and deletes no Node/],
      'its Node recreated': [createNode({}, 'node-1'), /creates and deletes no Node|resulted in error/],
    },
    422,
  ),
  ...refused('unboundAgent', { 'anything without a pod': [status(label('x')), /pod on ""/] }, 422),
  ...refused('renamed', {
    'a label, regardless of the name of its policy': [
      status(label(READY, 'true'), 'node-2'),
      /needs the verb manage-gvisor-readiness on the node "node-2"/,
    ],
  }),
];

/** Metadata that an agent may not write, through the Node or its status. */
const FOREIGN: Readonly<Record<string, readonly [body: object, message: RegExp]>> = {
  'another label': [label('forged'), /only labels of/],
  'another label changed': [label('team'), /only labels of/],
  'another label removed': [label('team', null), /only labels of/],
  'a label whose domain only has the same prefix': [label(`${DOMAIN}.evil/ready`), /only labels of/],
  'an unknown label of the domain': [label(`${DOMAIN}/other`), /only labels of/],
  'a label of a handler, neither true nor false': [label(`${READY}-runsc-kvm`, 'yes'), /only labels of/],
  'a label of a handler in another domain': [label(`a.${READY}-runsc-kvm`, 'true'), /only labels of/],
  'a label of a handler in another domain, removed,': [label(`a.${READY}-x`, null), /only labels of/],
  'another annotation': [annotation('a'), /only annotations of/],
  'another annotation changed': [annotation('team'), /only annotations of/],
  'another annotation removed': [annotation('team', null), /only annotations of/],
  'a retired annotation': [annotation(`${DOMAIN}/agent`), /only annotations of/],
  'an unknown annotation of the domain': [annotation(`${DOMAIN}/other`), /only annotations of/],
  'an annotation of a handler in another domain': [
    annotation(`a.${PROVEN_BOOT}-runsc-kvm`),
    /only annotations of/,
  ],
  'an annotation of a handler in another domain, removed,': [
    annotation(`a.${PROVEN_BOOT}-x`, null),
    /only annotations of/,
  ],
  'a finalizer': [{ metadata: { finalizers: ['a.example/b'] } }, /finalizers/],
  'the finalizers removed': [{ metadata: { finalizers: null } }, /finalizers/],
  'its owners removed': [{ metadata: { ownerReferences: null } }, /owner references/],
  'another owner': [{ metadata: OWNERS }, /owner references/],
  generateName: [{ metadata: { generateName: 'forged-' } }, /rest of its Node's metadata/],
};

const DECLARED_FEATURES = status({ status: { declaredFeatures: ['Stolen'] } });
const OWN_NODE: readonly Case[] = [
  ...[patch, status].flatMap((how) =>
    Object.entries(FOREIGN).flatMap(([what, [body, message]]) =>
      refused('agent', { [what]: [how(body), message] }, 422),
    ),
  ),
  ...refused(
    'agent',
    {
      ...withMessage(/the spec/, {
        'its taint removed': patch(taints(...OTHERS)),
        'its taints removed': patch({ spec: { taints: null } }),
        'the node uncordoned': patch({ spec: { unschedulable: null } }),
      }),
      ...withMessage(/only the condition GVisorReady/, {
        'the condition Ready': status(condition('Ready')),
        'a new condition': status(condition('Other')),
        'another condition removed': status(withoutCondition('Ready')),
      }),
      'a second condition GVisorReady': [twice(), /the condition GVisorReady once/],
      ...withMessage(/rest of its Node's status/, {
        'the capacity': status({ status: { capacity: { 'example.com/gpu': '8' } } }),
        'the capacity removed': status({ status: { capacity: null } }),
        'the port of the kubelet': status({
          status: { daemonEndpoints: { kubeletEndpoint: { Port: 9477 } } },
        }),
        ...(MINOR < 35 ? {} : { 'the declared features': DECLARED_FEATURES }),
      }),
    },
    422,
  ),
  ...(MINOR < 35 ? accepted('agent', { 'features that this API server drops': DECLARED_FEATURES }) : []),
];

/** Adds a second condition of a type, which only a JSON patch can. */
function twice(): ApiCall {
  const [value] = condition('GVisorReady', { status: 'True' }).status.conditions;
  const body = [{ op: 'add', path: '/status/conditions/-', value }];
  return { method: 'PATCH', path: nodePath('node-1', '/status'), patch: 'json-patch+json', body };
}

const expected = (value: string | null) => label(`${DOMAIN}/expected`, value);
const expectedBeside = (ready: string, value: string) => ({
  metadata: { labels: { [READY]: ready, [`${DOMAIN}/expected`]: value } },
});
/** Keys of so many handlers. */
const keysOf = (prefix: string, count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`${prefix}-handler-${at}`, 'true']));
const ofHandlers = (count: number) => ({ metadata: { labels: keysOf(READY, count) } });
const bootsOf = (count: number) => ({ metadata: { annotations: keysOf(PROVEN_BOOT, count) } });
const HANDLERS: readonly Case[] = [
  ...accepted('agent', {
    'its label of a handler': status(label(`${READY}-runsc-debug`, 'true')),
    'its label of a handler withdrawn': status(label(`${READY}-runsc-kvm`, 'false')),
    'its label of a handler removed': status(label(`${READY}-runsc-kvm`, null)),
    'its annotation of a handler': status(annotation(`${PROVEN_BOOT}-runsc-debug`)),
    'its annotation of a handler removed': status(annotation(`${PROVEN_BOOT}-runsc-kvm`, null)),
    'sixteen labels of handlers with that of the Node': status(ofHandlers(15)),
    'sixteen annotations of handlers with that of the Node': status(bootsOf(15)),
    'an annotation of 128 characters': status(annotation(PROVEN_BOOT, 'b'.repeat(128))),
    'the longest message': status(condition('GVisorReady', { message: 'm'.repeat(1_024) })),
  }),
  ...refused(
    'agent',
    {
      'seventeen labels of handlers': [status(ofHandlers(16)), /no more than 16 labels ready-HANDLER/],
      ...withMessage(/annotations of 128 characters at the most, and no more than 16/, {
        'seventeen annotations of handlers': status(bootsOf(16)),
        'an annotation of 129 characters': status(annotation(PROVEN_BOOT, 'b'.repeat(129))),
      }),
      'a message that is too long': [
        status(condition('GVisorReady', { message: 'm'.repeat(1_025) })),
        /a message of 1,024 characters at the most/,
      ],
    },
    422,
  ),
  ...accepted('agent4', { 'a label beside a long message': status(label(READY, 'false'), 'node-4') }),
];

const TOO_MANY = /more than 1000 labels or annotations, .* needs the verb manage-gvisor-readiness on it$/;
const TOO_MANY_FOR_AGENTS = /more than 5000 labels or annotations has more than can be checked/;
const MANY: readonly Case[] = [
  ...refused(
    'nodeAdmin',
    withMessage(TOO_MANY, {
      'a label beside a thousand': status(label('x'), 'node-5'),
      'the label ready beside a thousand': status(label(READY, 'false'), 'node-5'),
      'an annotation beside a thousand': status(annotation('x'), 'node-6'),
      'a new Node with more than a thousand labels': createNode({ labels: annotations(1_001) }),
      'a new Node with more than a thousand annotations': createNode({ annotations: annotations(1_001) }),
    }),
  ),
  ...accepted('nodeAdmin', {
    'an annotation beside a thousand labels': status(annotation('x'), 'node-5'),
    'a label beside a thousand annotations': status(label('x'), 'node-6'),
    'another condition beside a thousand labels': status(condition('KernelDeadlock'), 'node-5'),
    'a taint beside a thousand labels': patch(taints({ key: 'a', effect: 'NoSchedule' }), 'node-5'),
    'a new Node with a thousand labels': createNode({ labels: annotations(1_000) }),
    'a new Node with a thousand annotations': createNode({ annotations: annotations(1_000) }),
  }),
  ...accepted('agent5', { 'its label beside a thousand': status(label(READY, 'false'), 'node-5') }),
  ...refused(
    'agent5',
    { 'another label beside a thousand': [status(label('x'), 'node-5'), /only labels of/] },
    422,
  ),
  ...refused(
    'agent8',
    withMessage(TOO_MANY_FOR_AGENTS, {
      'its label beside 5000': status(label(READY, 'false'), 'node-8'),
      'its annotation beside 5000': status(annotation(PROVEN_BOOT), 'node-8'),
    }),
    422,
  ),
  ...accepted('agent8', { 'its condition beside 5000 labels': status(condition('GVisorReady'), 'node-8') }),
  ...refused(
    'fleet',
    {
      'a withdrawal beside 5000 labels': [
        status(label(READY, 'false'), 'node-8'),
        /5000 labels at the most$/,
      ],
    },
    422,
  ),
  ...accepted('fleet', { 'a withdrawal beside a thousand labels': status(label(READY, 'false'), 'node-5') }),
  ...accepted('uninstaller', {
    'the label removed beside a thousand': status(label(READY, null), 'node-5'),
    'the annotation removed beside a thousand': status(annotation(PROVEN_BY, null), 'node-6'),
  }),
];

const OURS = { 'app.kubernetes.io/name': 'gvisor-ready', 'app.kubernetes.io/component': 'fleet' };
const mirror = (labels: Readonly<Record<string, string>>) =>
  createMirror({}, { node: 'node-1', namespace: 'gvisor-ready', labels });
const PODS: readonly Case[] = [
  ...refused('kubelet', {
    'a static pod with the labels of the controller': [
      mirror(OURS),
      /a static pod may not have the label app\.kubernetes\.io\/name: gvisor-ready/,
    ],
  }),
  ...accepted('kubelet', {
    'a static pod without labels': mirror({}),
    'a static pod of another name': mirror({ ...OURS, 'app.kubernetes.io/name': 'other' }),
  }),
  ...accepted('admin', {
    'a pod with the labels of the controller': create('gvisor-ready', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'fleet', labels: OURS },
      spec: { serviceAccountName: 'gvisor-ready-fleet', ...container() },
    }),
  }),
];

const OWN: readonly Case[] = [
  ...['ready', 'runsc-version', 'platform', 'gpu'].flatMap((name) =>
    accepted('agent', {
      [`its label ${name}`]: status(label(`${DOMAIN}/${name}`, 'false')),
      [`its label ${name} removed`]: status(label(`${DOMAIN}/${name}`, null)),
    }),
  ),
  ...['proven-by', 'proven-boot', 'failed-boot'].flatMap((name) =>
    accepted('agent', { [`its annotation ${name}`]: status(annotation(`${DOMAIN}/${name}`)) }),
  ),
  ...accepted('agent', {
    'its condition': status(condition('GVisorReady')),
    'its condition removed': status(withoutCondition('GVisorReady')),
  }),
  ...accepted('agent3', {
    'its annotation removed, the last of the Node,': status(
      annotation(`${DOMAIN}/proven-boot`, null),
      'node-3',
    ),
    'its first condition': status(condition('GVisorReady'), 'node-3'),
    'that its Node, which was never proven, need not run gVisor': status(expected('false'), 'node-3'),
    'that its Node should run gVisor': status(expected('true'), 'node-3'),
  }),
  ...accepted('agent', { 'that its Node still should': status(expected('true')) }),
  ...accepted('agent4', {
    'its condition, beside a label expected that contradicts': status(condition('GVisorReady'), 'node-4'),
  }),
  ...refused(
    'agent3',
    withMessage(/sets its label expected/, {
      'another word': status(expected('no'), 'node-3'),
      'an empty word': status(expected(''), 'node-3'),
      'a Node that is ready and need not be': status(expectedBeside('true', 'false'), 'node-3'),
    }),
    422,
  ),
  ...refused(
    'agent',
    {
      ...withMessage(/sets its label expected/, {
        'that a labelled Node need not run gVisor': status(expected('false')),
        'that a Node that was proven need not run gVisor': status(expectedBeside('false', 'false')),
        'its label expected removed': status(expected(null)),
      }),
      'its annotation proven-by removed': [
        status(annotation(PROVEN_BY, null)),
        /keeps the annotation proven-by/,
      ],
    },
    422,
  ),
  {
    what: 'agent: its condition is accepted beside an older duplicate',
    exclusive: true,
    run: async ({ as }) => {
      const path = nodePath('node-1', '/status');
      const was = (await as('admin', { method: 'GET', path })).body as { status: { conditions: object[] } };
      assertAccepted(await as('admin', twice()));
      try {
        assertAccepted(await as('agent', dryRun(status(condition('GVisorReady')))));
        assert.equal((await as('agent', dryRun(twice()))).code, 422);
      } finally {
        assertAccepted(await as('admin', patchOf(path, conditions(...was.status.conditions))));
      }
    },
  },
];

/** A write is denied if an expression fails. */
export const closed = (policy: string, as: UserName, call: ApiCall): Case =>
  whileSet(
    [policy, FIRST_VARIABLE[policy] ?? '', 'dyn(string(1 / 0))'],
    refused(as, { 'its own write': [call, /division by zero/] }, 422),
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
/** A key of another domain with the same suffix. */
const SUFFIX = `a.${DOMAIN}/x`;
/** The keys of a proof, written by clients that may write Nodes. */
const KEYS: readonly Case[] = [
  ...(['nodeAdmin', 'detector'] as const).flatMap((as) => [
    ...refused(as, {
      ...withMessage(CLAIM, {
        'the label granted': status(label(READY, 'true'), 'node-2'),
        'a new label of the domain': status(label(`${DOMAIN}/x`), 'node-3'),
        'the label removed': status(label(READY, null)),
        'a new annotation': status(annotation(PROVEN_BY), 'node-3'),
        'the annotation changed': status(annotation(PROVEN_BY)),
        'the annotation removed': status(annotation(PROVEN_BY, null)),
        'the label of a handler granted': status(label(`${READY}-runsc-kvm`, 'true'), 'node-2'),
        'the label of a handler removed': status(label(`${READY}-runsc-kvm`, null)),
        'the annotation of a handler': status(annotation(`${PROVEN_BOOT}-runsc-debug`)),
        'a new condition': status(condition('GVisorReady'), 'node-3'),
        'the condition removed': status(withoutCondition('GVisorReady')),
      }),
      'the condition': [
        status(condition('GVisorReady', { status: 'True' }), 'node-2'),
        /writes the condition GVisorReady of Nodes/,
      ],
    }),
    ...accepted(as, {
      'another label': status(label('x')),
      'another annotation': status(annotation('x')),
      'another condition': status(condition('KernelDeadlock')),
      'a label whose domain only has the same suffix': status(label(`a.${READY}`)),
      'a label whose domain only has the same suffix, removed,': status(label(SUFFIX, null)),
      'an annotation whose domain only has the same suffix': status(annotation(SUFFIX)),
      'an annotation whose domain only has the same suffix, removed,': status(annotation(SUFFIX, null)),
    }),
  ]),
  ...refused('otherPod', {
    'the label, from a pod on that node,': [status(label(READY, 'false')), CLAIM],
  }),
  ...refused('reporter', {
    'the label, with the verb of agents and no pod,': [status(label(READY, 'false')), CLAIM],
  }),
  ...refused('nodeAdmin', {
    'the label through the Node itself': [patch(label(READY, 'true'), 'node-2'), CLAIM],
    'a new Node with the label': [createNode({ labels: { [READY]: 'true' } }), CLAIM],
  }),
  ...accepted('nodeAdmin', {
    'a new Node without': createNode({ labels: { a: 'b' } }),
    'the taint of the component': patch(taints(TAINT)),
  }),
  ...accepted('renamed', { 'its own node': status(label(READY, 'false')) }),
  ...(['admin', 'uninstaller'] as const).flatMap((as) =>
    accepted(as, {
      'the label removed': status(label(READY, null)),
      'the label of a handler removed': status(label(`${READY}-runsc-kvm`, null)),
      'the annotation removed': status(annotation(PROVEN_BY, null)),
      'the condition removed': status(withoutCondition('GVisorReady')),
    }),
  ),
  ...refused('kubelet', {
    'the label of its own node': [status(label(READY, 'false')), /is not allowed to modify labels/],
  }),
  ...accepted('kubelet', {
    'its report': status(condition('Ready', { status: 'True' })),
    'its own annotation': status(annotation(PROVEN_BY, 'x')),
  }),
];

const EVENTS = '/api/v1/namespaces/default/events';
/** Events on Nodes or pods with these fields, which an agent on node-1 may create unless changed. */
const event = (changes: object = {}, namespace = 'default'): ApiCall => ({
  method: 'POST',
  path: `/api/v1/namespaces/${namespace}/events`,
  body: {
    metadata: { generateName: 'node-writes.' },
    involvedObject: { kind: 'Node', name: 'node-1' },
    reason: 'SandboxProven',
    message: 'm',
    type: 'Normal',
    source: { component: 'gvisor-ready', host: 'node-1' },
    ...changes,
  },
});
/** An event on a pod of another namespace. */
const podEvent = (changes: object = {}) => {
  const involvedObject = { kind: 'Pod', name: 'a', namespace: 'other' };
  return event({ involvedObject, reason: 'UnsandboxedPod', ...changes }, 'other');
};

/** Events that do not have the form of those of agents and controllers, by what is wrong. */
export const malformed = (eventWith: (changes: object) => ApiCall) =>
  withMessage(/events of a message of 1,024 characters at the most, without labels and annotations/, {
    ...Object.fromEntries(
      Object.entries({
        labels: { a: 'b' },
        annotations: { a: 'b' },
        finalizers: ['a.example/b'],
        ...OWNERS,
      }).map(([field, value]) => [
        `an event with ${field}`,
        eventWith({ metadata: { generateName: 'a.', [field]: value } }),
      ]),
    ),
    'an event with a related object': eventWith({ related: { kind: 'Pod', name: 'a' } }),
    'an event of an action': eventWith({ action: 'a' }),
    'an event of a series': eventWith({
      series: { count: 2, lastObservedTime: '2026-01-01T00:00:00.000000Z' },
    }),
    'a message that is too long': eventWith({ message: 'm'.repeat(1_025) }),
    'an object that is too long': eventWith({
      involvedObject: { kind: 'Node', name: 'node-1', uid: 'u'.repeat(254) },
    }),
  });

const AGENT_EVENTS: readonly Case[] = [
  ...accepted('agent', {
    'an event on its Node': event(),
    'an event on its Node with the longest message': event({ message: 'm'.repeat(1_024) }),
    'an event on a pod outside gVisor': podEvent(),
    'an event on a weakened pod': podEvent({ reason: 'WeakenedPod' }),
    'an event with the newer name': event({ reportingComponent: 'gvisor-ready' }),
  }),
  ...refused(
    'agent',
    {
      ...withMessage(/own Node/, {
        'an event on another node': event({ involvedObject: { kind: 'Node', name: 'node-2' } }),
        'an event on nothing': event({ involvedObject: {} }),
        'another event on a pod': podEvent({ reason: 'Other' }),
        'an event on another kind': podEvent({ involvedObject: { kind: 'Job', namespace: 'other' } }),
        'an event on its Node in another namespace': event(
          { involvedObject: { kind: 'Node', name: 'node-1', namespace: 'other' } },
          'other',
        ),
        'an event on another kind of its name': event({
          involvedObject: { kind: 'Job', name: 'node-1', namespace: 'default' },
        }),
      }),
      ...withMessage(/under the name gvisor-ready/, {
        "an event in the kubelet's name": event({ source: { component: 'kubelet', host: 'node-1' } }),
        'an event without a name': event({ source: { host: 'node-1' } }),
        'an event reported by the kubelet': event({ reportingComponent: 'kubelet' }),
        'an event reported by another node': event({
          reportingComponent: 'gvisor-ready',
          reportingInstance: 'node-2',
        }),
      }),
      "an event in another node's name": [
        event({ source: { component: 'gvisor-ready', host: 'node-2' } }),
        /name of its own node/,
      ],
      ...malformed(event),
      'a reason that is too long': [event({ reason: 'R'.repeat(129) }), /events of a message of 1,024/],
    },
    422,
  ),
  ...refused(
    'unboundAgent',
    withMessage(/pod on ""/, {
      'an event on a pod without a pod': podEvent({ source: { component: 'gvisor-ready' } }),
      'an event without a pod': event(),
    }),
    422,
  ),
  ...eventChanges('agent'),
];

/** Clients that may only create events cannot change or delete one, regardless of RBAC. */
export function eventChanges(as: 'agent' | 'fleet'): readonly Case[] {
  const source =
    as === 'agent' ? { component: 'gvisor-ready', host: 'node-1' } : { component: 'gvisor-ready-fleet' };
  const name = `${as}-${process.pid}`;
  const made = event({ reason: 'AgentLost', source, metadata: { name } });
  const path = `${EVENTS}/${name}`;
  return [patchOf(path, { count: 2 }), remove(path)].map((change) => ({
    what: `${as}: ${change.method} of an event that exists is refused`,
    exclusive: true,
    run: async ({ as: call }) => {
      const { code, message } = await call('admin', made);
      assert.ok([201, 409].includes(code), message);
      const response = await call(as, dryRun(change));
      assert.equal(response.code, 422, response.message);
      assert.match(response.message, /changes and deletes no event|resulted in error/);
      assertAccepted(await call('admin', { method: 'GET', path }));
    },
  }));
}

/** With the component `taint`: the agent's own taint, and nothing else of the spec. */
const TAINTS: readonly Case[] = [
  ...accepted('agent', { 'its taint removed beside others': patch(taints(...OTHERS)) }),
  ...accepted('agent4', { 'its taint added': patch(taints(TAINT), 'node-4') }),
  ...accepted('agent3', {
    'its taint removed, the last of the Node,': patch({ spec: { taints: null } }, 'node-3'),
  }),
  ...refused(
    'agent',
    withMessage(/the spec of its Node/, {
      'another taint': patch(taints(...OTHERS, { key: 'third', effect: 'NoSchedule' })),
      'its taint with another effect': patch(taints(...OTHERS, { ...TAINT, effect: 'PreferNoSchedule' })),
      'another taint removed': patch(taints(OTHERS[0], TAINT)),
      'its taint of another effect removed': patch(taints(OTHERS[1], TAINT)),
      'the node uncordoned beside its taint': patch({
        spec: { taints: [...OTHERS, TAINT], unschedulable: null },
      }),
      'the node uncordoned': patch({ spec: { unschedulable: null } }),
      'a provider ID': patch({ spec: { providerID: 'forged' } }),
    }),
    422,
  ),
];

/** Writes of Nodes and events with the base, by agents and other clients. */
export const NODE_GROUPS: readonly Group[] = [
  { title: "an agent's token and other nodes", cases: OTHER_NODES },
  { title: "an agent's token and its own node", cases: OWN_NODE },
  { title: "an agent's token and its own keys", cases: OWN },
  { title: "an agent's token and its keys of additional handlers", cases: HANDLERS },
  { title: "the agents' keys, written by other clients", cases: KEYS },
  { title: 'Nodes with many labels and annotations', cases: MANY },
  { title: 'pods with the labels of agents and controller', cases: PODS },
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
