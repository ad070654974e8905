import assert from 'node:assert/strict';
import { DOMAIN } from '../e2e/agents.ts';
import { accepted, type Case, type Group } from './admission-case.ts';
import type { ApiCall } from './api-user.ts';
import { conditionOf, READY_KEY } from './fleet-objects.ts';
import { closed, eventChanges } from './node-write-cases.ts';

const NODE = '/api/v1/nodes/node-1';
const status = (body: object): ApiCall => ({
  method: 'PATCH',
  path: `${NODE}/status`,
  patch: 'strategic-merge-patch+json',
  body,
});
const label = (key: string, value: string | null) => status({ metadata: { labels: { [key]: value } } });
const condition = (...args: Parameters<typeof conditionOf>) =>
  status({ status: { conditions: [conditionOf(...args)] } });
const events = (namespace: string, body: object): ApiCall => ({
  method: 'POST',
  path: `/api/v1/namespaces/${namespace}/events?dryRun=All`,
  body: {
    metadata: { generateName: 'forged-' },
    reason: 'AgentLost',
    message: 'forged',
    type: 'Warning',
    source: { component: 'gvisor-ready-fleet' },
    ...body,
  },
});
const aboutAgents = {
  involvedObject: {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    name: 'gvisor-ready-agent',
    namespace: 'gvisor-ready',
  },
};
const EVENT_FORMAT = /events of a message of 1,024 characters at the most, without labels and annotations/;
const aboutNode = { involvedObject: { apiVersion: 'v1', kind: 'Node', name: 'node-1' } };

/**
 * Writes that the controller's token is denied. node-1 is labelled "true" and proven, node-2 is labelled "false" and its
 * condition is False, node-3 has neither.
 */
const FORGERIES: readonly (readonly [what: string, call: ApiCall, why: RegExp])[] = [
  [
    'granting the label to a node that lost it',
    { ...label(READY_KEY, 'true'), path: '/api/v1/nodes/node-2/status' },
    /only from "true" to "false"/,
  ],
  [
    'granting the label to a node that never had it',
    { ...label(READY_KEY, 'true'), path: '/api/v1/nodes/node-3/status' },
    /only from "true" to "false"/,
  ],
  [
    'a label "false" where there was none',
    { ...label(READY_KEY, 'false'), path: '/api/v1/nodes/node-3/status' },
    /only from "true" to "false"/,
  ],
  ['removing the label', label(READY_KEY, null), /writes only the label|only from "true" to "false"/],
  ['another value of the label', label(READY_KEY, 'maybe'), /only from "true" to "false"/],
  ['another label of the domain', label(`${DOMAIN}/platform`, 'kvm'), /only the label/],
  ['removing another label of the domain', label(`${DOMAIN}/runsc-version`, null), /only the label/],
  ['another label', label('team', 'b'), /only the label/],
  ['a new label', label('forged', 'x'), /only the label/],
  ['removing another label', label('team', null), /only the label/],
  [
    'a condition True',
    {
      ...condition('GVisorReady', 'True', 'SandboxProven'),
      path: '/api/v1/nodes/node-2/status',
    },
    /only from True to Unknown/,
  ],
  ['a condition False', condition('GVisorReady', 'False', 'ShimNotFound'), /only from True to Unknown/],
  [
    'a condition False with another reason',
    condition('GVisorReady', 'False', 'AgentLost'),
    /only from True to Unknown/,
  ],
  ['another reason', condition('GVisorReady', 'Unknown', 'NotVisible'), /only from True to Unknown/],
  [
    'another message of a condition that stays True',
    status({ status: { conditions: [{ type: 'GVisorReady', message: 'forged' }] } }),
    /only from True to Unknown/,
  ],
  [
    'the condition of a node that is already False',
    {
      ...condition('GVisorReady', 'Unknown', 'AgentLost'),
      path: '/api/v1/nodes/node-2/status',
    },
    /only from True to Unknown/,
  ],
  [
    'a condition where there was none',
    {
      ...condition('GVisorReady', 'Unknown', 'AgentLost'),
      path: '/api/v1/nodes/node-3/status',
    },
    /only from True to Unknown/,
  ],
  [
    'removing the condition',
    status({ status: { conditions: [{ $patch: 'delete', type: 'GVisorReady' }] } }),
    /only from True to Unknown/,
  ],
  [
    'two conditions of the type',
    {
      method: 'PATCH',
      path: `${NODE}/status`,
      body: {
        status: {
          conditions: [
            conditionOf('Ready', 'True', 'KubeletReady'),
            conditionOf('GVisorReady', 'Unknown', 'AgentLost'),
            conditionOf('GVisorReady', 'True', 'SandboxProven'),
          ],
        },
      },
    },
    /only from True to Unknown/,
  ],
  ['the condition Ready', condition('Ready', 'False', 'Forged'), /only the condition GVisorReady/],
  ['a new condition', condition('Forged', 'True', 'Forged'), /only the condition GVisorReady/],
  ['the capacity', status({ status: { capacity: { cpu: '64' } } }), /rest of a Node's status/],
  [
    'the addresses',
    status({ status: { addresses: [{ type: 'InternalIP', address: '10.0.0.9' }] } }),
    /rest of a Node's status/,
  ],
  ['removing the capacity', status({ status: { capacity: null } }), /rest of a Node's status/],
  [
    'the annotation proven-by',
    status({ metadata: { annotations: { [`${DOMAIN}/proven-by`]: null } } }),
    /rest of a Node's metadata/,
  ],
  [
    'the annotation proven-boot',
    status({ metadata: { annotations: { [`${DOMAIN}/proven-boot`]: 'boot-2' } } }),
    /rest of a Node's metadata/,
  ],
  ['an annotation', status({ metadata: { annotations: { forged: 'x' } } }), /rest of a Node's metadata/],
  ['a finalizer', status({ metadata: { finalizers: ['a.example/b'] } }), /rest of a Node's metadata/],
  [
    'an owner reference',
    status({ metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-2', uid: '1' }] } }),
    /rest of a Node's metadata/,
  ],
  ['the finalizers removed', status({ metadata: { finalizers: null } }), /rest of a Node's metadata/],
  ['the owners removed', status({ metadata: { ownerReferences: null } }), /rest of a Node's metadata/],
  [
    'a taint',
    { method: 'PATCH', path: NODE, body: { spec: { taints: [{ key: 'a', effect: 'NoExecute' }] } } },
    /leaves the spec/,
  ],
  [
    'the node uncordoned',
    { method: 'PATCH', path: NODE, body: { spec: { unschedulable: null } } },
    /leaves the spec/,
  ],
  ['deleting a Node', { method: 'DELETE', path: NODE }, /creates and deletes no Node/],
  [
    'creating a Node',
    { method: 'POST', path: '/api/v1/nodes', body: { metadata: { name: 'forged' } } },
    /creates and deletes no Node|resulted in error/,
  ],
  [
    'replacing a status',
    { method: 'PUT', path: `${NODE}/status`, body: { metadata: { name: 'node-1' } } },
    /cannot update resource "nodes\/status"/,
  ],
  [
    'deleting an agent',
    { method: 'DELETE', path: '/api/v1/namespaces/gvisor-ready/pods/agent-node-1' },
    /cannot delete resource "pods"/,
  ],
  [
    'reading pods of another namespace',
    { method: 'GET', path: '/api/v1/namespaces/default/pods' },
    /cannot list resource "pods"/,
  ],
  ['reading secrets', { method: 'GET', path: '/api/v1/secrets' }, /cannot list resource "secrets"/],
  [
    'another event on a Node',
    events('default', { ...aboutNode, reason: 'NodeReady' }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event on a pod',
    events('default', { involvedObject: { kind: 'Pod', name: 'a', namespace: 'default' } }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event in the name of the agents',
    events('default', { ...aboutNode, source: { component: 'gvisor-ready', host: 'node-1' } }),
    /under the name gvisor-ready-fleet/,
  ],
  [
    'an event in another namespace',
    events('kube-system', { involvedObject: { ...aboutNode.involvedObject, namespace: 'kube-system' } }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event on the DaemonSet of another namespace',
    events('kube-system', { involvedObject: { ...aboutAgents.involvedObject, namespace: 'kube-system' } }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event on another DaemonSet',
    events('gvisor-ready', { involvedObject: { ...aboutAgents.involvedObject, name: 'other' } }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event on a Job of the name of the DaemonSet',
    events('gvisor-ready', {
      involvedObject: { ...aboutAgents.involvedObject, apiVersion: 'batch/v1', kind: 'Job' },
    }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event on the DaemonSet of a namespace with the same prefix',
    events('gvisor-rea', { involvedObject: { ...aboutAgents.involvedObject, namespace: 'gvisor-rea' } }),
    /only events AgentLost and NodeRebooted/,
  ],
  [
    'an event under another name',
    events('default', { ...aboutNode, source: { component: 'gvisor' } }),
    /under the name/,
  ],
  [
    'an event with a host',
    events('default', { ...aboutNode, source: { component: 'gvisor-ready-fleet', host: 'node-1' } }),
    /under the name/,
  ],
  [
    'an event reported by the kubelet',
    events('default', { ...aboutNode, reportingComponent: 'kubelet' }),
    /under the name/,
  ],
  [
    'an event reported by an instance',
    events('default', { ...aboutNode, reportingInstance: 'node-1' }),
    /under the name/,
  ],
  ...['labels', 'annotations'].map(
    (field) =>
      [
        `an event with ${field}`,
        events('default', { ...aboutNode, metadata: { generateName: 'a.', [field]: { a: 'b' } } }),
        EVENT_FORMAT,
      ] as const,
  ),
  [
    'an event with finalizers',
    events('default', { ...aboutNode, metadata: { generateName: 'a.', finalizers: ['a.example/b'] } }),
    EVENT_FORMAT,
  ],
  [
    'an event with owners',
    events('default', {
      ...aboutNode,
      metadata: {
        generateName: 'a.',
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-2', uid: '1' }],
      },
    }),
    EVENT_FORMAT,
  ],
  [
    'an event with a related object',
    events('default', { ...aboutNode, related: { kind: 'Pod', name: 'a' } }),
    EVENT_FORMAT,
  ],
  ['an event of an action', events('default', { ...aboutNode, action: 'a' }), EVENT_FORMAT],
  [
    'an event of a series',
    events('default', {
      ...aboutNode,
      series: { count: 2, lastObservedTime: '2026-01-01T00:00:00.000000Z' },
    }),
    EVENT_FORMAT,
  ],
  [
    'a message that is too long',
    events('default', { ...aboutNode, message: 'm'.repeat(1_025) }),
    EVENT_FORMAT,
  ],
  [
    'a reason that is too long',
    events('gvisor-ready', { ...aboutAgents, reason: 'R'.repeat(129) }),
    EVENT_FORMAT,
  ],
  [
    'an object that is too long',
    events('default', { involvedObject: { ...aboutNode.involvedObject, uid: 'u'.repeat(254) } }),
    EVENT_FORMAT,
  ],
];

const withdrawn = status({
  metadata: { labels: { [READY_KEY]: 'false' } },
  status: { conditions: [conditionOf('GVisorReady', 'Unknown', 'AgentLost')] },
});
const WITHDRAWALS: readonly Case[] = [
  accepted(
    'label and condition in one write',
    { ...withdrawn, path: `${NODE}/status?dryRun=All` },
    { as: 'fleet' },
  ),
  accepted(
    'label and condition after a reboot',
    {
      ...status({
        metadata: { labels: { [READY_KEY]: 'false' } },
        status: { conditions: [conditionOf('GVisorReady', 'Unknown', 'NodeRebooted')] },
      }),
      path: `${NODE}/status?dryRun=All`,
    },
    { as: 'fleet' },
  ),
  accepted('the event of a reboot', events('default', { ...aboutNode, reason: 'NodeRebooted' }), {
    as: 'fleet',
  }),
  accepted(
    'a write that changes nothing',
    { ...label(READY_KEY, 'true'), path: `${NODE}/status?dryRun=All` },
    { as: 'fleet' },
  ),
  accepted('the event of a withdrawal', events('default', { ...aboutNode, message: 'm'.repeat(1_024) }), {
    as: 'fleet',
  }),
  accepted(
    'an event with the newer name',
    events('default', { ...aboutNode, reportingComponent: 'gvisor-ready-fleet' }),
    { as: 'fleet' },
  ),
  accepted(
    "another client's label",
    { ...label('x', 'y'), path: `${NODE}/status?dryRun=All` },
    { as: 'nodeAdmin' },
  ),
  accepted("another client's event", events('default', { ...aboutNode, reason: 'Other', source: {} })),
  accepted('an event on the DaemonSet', events('gvisor-ready', { ...aboutAgents, reason: 'Paused' }), {
    as: 'fleet',
  }),
];

/** Writes with the token of the fleet controller. */
export const FLEET_GROUPS: readonly Group[] = [
  {
    title: "the fleet controller's token is refused",
    cases: FORGERIES.map(([what, call, why]) => ({
      what,
      run: async ({ as }) => {
        const { code, message } = await as('fleet', {
          ...call,
          path: call.path.replace(/(\?.*)?$/, '?dryRun=All'),
        });
        assert.ok(code >= 400, `responded ${code}`);
        assert.match(message, why);
      },
    })),
  },
  { title: 'the fleet controller withdraws', cases: WITHDRAWALS },
  { title: 'events that exist', cases: eventChanges('fleet') },
  {
    title: 'a failing policy denies writes',
    cases: [
      closed('gvisor-ready-fleet', 'fleet', { ...withdrawn, path: `${NODE}/status?dryRun=All` }),
      closed('gvisor-ready-fleet-events', 'fleet', events('default', aboutNode)),
    ],
  },
];

const TAINT = { key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' };
const spec = (body: object, node = 'node-4'): ApiCall => ({
  method: 'PATCH',
  path: `/api/v1/nodes/${node}?dryRun=All`,
  body: { spec: body },
});
const refusedSpec = (what: string, call: ApiCall): Case => ({
  what,
  run: async ({ as }) => {
    const { code, message } = await as('fleet', call);
    assert.equal(code, 422, message);
    assert.match(message, /leaves the spec of a Node alone/);
  },
});

/** Writes with the component taint. */
export const FLEET_TAINT_GROUPS: readonly Group[] = [
  {
    title: "the fleet controller's token with the component taint",
    cases: [
      accepted("adds the agents' taint", spec({ taints: [TAINT] }), { as: 'fleet' }),
      refusedSpec('another taint', spec({ taints: [{ key: 'other', effect: 'NoSchedule' }] })),
      refusedSpec('its taint with another effect', spec({ taints: [{ ...TAINT, effect: 'NoExecute' }] })),
      refusedSpec(
        'another taint beside its own',
        spec({ taints: [TAINT, { key: 'other', effect: 'NoSchedule' }] }),
      ),
      refusedSpec('a cordon beside its taint', spec({ taints: [TAINT], unschedulable: true })),
      refusedSpec('a cordon', spec({ unschedulable: true })),
      refusedSpec('a provider ID', spec({ providerID: 'forged' })),
      refusedSpec('removing the taint', spec({ taints: [{ key: 'other', effect: 'NoSchedule' }] }, 'node-2')),
      refusedSpec('removing all taints', spec({ taints: [] }, 'node-2')),
      refusedSpec("removing others' taint", spec({ taints: [TAINT] }, 'node-2')),
      {
        what: 'is refused the label "true", in a write of the whole Node as well',
        run: async ({ as }) => {
          const body = { metadata: { labels: { [READY_KEY]: 'true' } } };
          const path = '/api/v1/nodes/node-2?dryRun=All';
          assert.match(
            (await as('fleet', { method: 'PATCH', path, body })).message,
            /only from "true" to "false"/,
          );
        },
      },
    ],
  },
];
