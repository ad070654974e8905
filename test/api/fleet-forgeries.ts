import { DOMAIN } from '../e2e/agents.ts';
import { accepted, type Group, refused, withMessage } from './admission-case.ts';
import { patch, remove, strategicPatch } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';
import { conditionOf, KVM_KEY, READY_KEY } from './fleet-objects.ts';
import { closed, eventChanges, malformed, TAINT } from './node-write-cases.ts';

const NODE = '/api/v1/nodes/node-1';
const status = (body: object, node = 'node-1') => strategicPatch(`/api/v1/nodes/${node}/status`, body);
const label = (key: string, value: string | null, node?: string) =>
  status({ metadata: { labels: { [key]: value } } }, node);
/** Writes the condition GVisorReady as the controller does, unless changed. */
const condition = (node?: string, state = 'Unknown', reason = 'AgentLost', type = 'GVisorReady') =>
  status({ status: { conditions: [conditionOf(type, state, reason)] } }, node);
const metadata = (part: object) => status({ metadata: part });
const withdrawal = (reason: string) =>
  status({
    metadata: { labels: { [READY_KEY]: 'false' } },
    status: { conditions: [conditionOf('GVisorReady', 'Unknown', reason)] },
  });

const events = (namespace: string, body: object): ApiCall => ({
  method: 'POST',
  path: `/api/v1/namespaces/${namespace}/events`,
  body: {
    metadata: { generateName: 'forged-' },
    reason: 'AgentLost',
    message: 'forged',
    type: 'Warning',
    source: { component: 'gvisor-ready-fleet' },
    ...body,
  },
});
const ABOUT_NODE = { apiVersion: 'v1', kind: 'Node', name: 'node-1' };
const nodeEvent = (changes: object = {}) => events('default', { involvedObject: ABOUT_NODE, ...changes });
/** An event on the DaemonSet of agents, or on an object that resembles it. */
const agentsEvent = (changes: object = {}, namespace = 'gvisor-ready', others: object = {}) =>
  events(namespace, {
    involvedObject: {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      name: 'gvisor-ready-agent',
      namespace,
      ...changes,
    },
    ...others,
  });

/**
 * Writes that the controller's token is denied. node-1 is labelled "true" for both handlers and proven, node-2 is labelled
 * "false" for both and its condition is False, node-3 has neither, and the condition of node-4 is Unknown.
 */
const FORGERIES = {
  ...withMessage(/only from "true" to "false"/, {
    'granting the label to a node that lost it': label(READY_KEY, 'true', 'node-2'),
    'granting the label to a node that never had it': label(READY_KEY, 'true', 'node-3'),
    'a label "false" where there was none': label(READY_KEY, 'false', 'node-3'),
    'another value of the label': label(READY_KEY, 'maybe'),
    'granting the label of an additional handler': label(KVM_KEY, 'true', 'node-2'),
    'granting the label of another handler': label(`${DOMAIN}/ready-other`, 'true'),
    'a label "false" of another handler': label(`${DOMAIN}/ready-other`, 'false', 'node-2'),
    'another value of the label of an additional handler': label(KVM_KEY, 'maybe'),
  }),
  ...withMessage(/only the labels/, {
    'removing the label': label(READY_KEY, null),
    'removing the label of an additional handler': label(KVM_KEY, null),
    'a label with the same prefix': label(`${DOMAIN}/readyx`, 'false'),
    'a label of another domain with the same end': label(`a.${DOMAIN}/ready-x`, 'false'),
    'another label of the domain': label(`${DOMAIN}/platform`, 'kvm'),
    'removing another label of the domain': label(`${DOMAIN}/runsc-version`, null),
    'another label': label('team', 'b'),
    'a new label': label('forged', 'x'),
    'removing another label': label('team', null),
  }),
  ...withMessage(/only to Unknown, from True or False/, {
    'a condition True': condition('node-2', 'True', 'SandboxProven'),
    'a condition False': condition('node-1', 'False', 'ShimNotFound'),
    'a condition False with another reason': condition('node-1', 'False'),
    'another reason': condition('node-1', 'Unknown', 'NotVisible'),
    'another message of a condition that stays True': status({
      status: { conditions: [{ type: 'GVisorReady', message: 'forged' }] },
    }),
    'a failure that its agent can write': condition('node-2', 'Unknown', 'AgentCannotWrite'),
    'a failure of a reason of its own': condition('node-2', 'Unknown', 'NotVisible'),
    'a condition that is already Unknown': condition('node-4'),
    'a condition where there was none': condition('node-3'),
    'a condition with a message that is too long': status({
      status: {
        conditions: [{ ...conditionOf('GVisorReady', 'Unknown', 'AgentLost'), message: 'm'.repeat(1_025) }],
      },
    }),
    'removing the condition': status({ status: { conditions: [{ $patch: 'delete', type: 'GVisorReady' }] } }),
    'two conditions of the type': patch(`${NODE}/status`, {
      status: {
        conditions: [
          conditionOf('Ready', 'True', 'KubeletReady'),
          conditionOf('GVisorReady', 'Unknown', 'AgentLost'),
          conditionOf('GVisorReady', 'True', 'SandboxProven'),
        ],
      },
    }),
  }),
  ...withMessage(/only the condition GVisorReady/, {
    'the condition Ready': condition('node-1', 'False', 'Forged', 'Ready'),
    'a new condition': condition('node-1', 'True', 'Forged', 'Forged'),
  }),
  ...withMessage(/rest of a Node's status/, {
    'the capacity': status({ status: { capacity: { cpu: '64' } } }),
    'the addresses': status({ status: { addresses: [{ type: 'InternalIP', address: '10.0.0.9' }] } }),
    'removing the capacity': status({ status: { capacity: null } }),
  }),
  ...withMessage(/rest of a Node's metadata/, {
    'the annotation proven-by': metadata({ annotations: { [`${DOMAIN}/proven-by`]: null } }),
    'the annotation proven-boot': metadata({ annotations: { [`${DOMAIN}/proven-boot`]: 'boot-2' } }),
    'an annotation': metadata({ annotations: { forged: 'x' } }),
    'a finalizer': metadata({ finalizers: ['a.example/b'] }),
    'an owner reference': metadata({
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-2', uid: '1' }],
    }),
    'the finalizers removed': metadata({ finalizers: null }),
    'the owners removed': metadata({ ownerReferences: null }),
  }),
  ...withMessage(/leaves the spec/, {
    "the agents' taint": patch('/api/v1/nodes/node-4', { spec: { taints: [TAINT] } }),
    'the node uncordoned': patch(NODE, { spec: { unschedulable: null } }),
  }),
  ...withMessage(/creates and deletes no Node|resulted in error/, {
    'deleting a Node': remove(NODE),
    'creating a Node': { method: 'POST', path: '/api/v1/nodes', body: { metadata: { name: 'forged' } } },
  }),
  ...withMessage(/only events AgentLost, AgentCannotWrite and NodeRebooted/, {
    'another event on a Node': nodeEvent({ reason: 'NodeReady' }),
    'an event on a pod': nodeEvent({ involvedObject: { kind: 'Pod', name: 'a', namespace: 'default' } }),
    'an event in another namespace': events('kube-system', {
      involvedObject: { ...ABOUT_NODE, namespace: 'kube-system' },
    }),
    'an event on the DaemonSet of another namespace': agentsEvent({}, 'kube-system'),
    'an event on another DaemonSet': agentsEvent({ name: 'other' }),
    'an event on a Job of the name of the DaemonSet': agentsEvent({ apiVersion: 'batch/v1', kind: 'Job' }),
    'an event on the DaemonSet of a namespace with the same prefix': agentsEvent({}, 'gvisor-rea'),
  }),
  ...withMessage(/under the name gvisor-ready-fleet/, {
    'an event in the name of the agents': nodeEvent({
      source: { component: 'gvisor-ready', host: 'node-1' },
    }),
    'an event under another name': nodeEvent({ source: { component: 'gvisor' } }),
    'an event with a host': nodeEvent({ source: { component: 'gvisor-ready-fleet', host: 'node-1' } }),
    'an event reported by the kubelet': nodeEvent({ reportingComponent: 'kubelet' }),
    'an event reported by an instance': nodeEvent({ reportingInstance: 'node-1' }),
  }),
  ...malformed(nodeEvent),
  'a reason that is too long': [
    agentsEvent({}, 'gvisor-ready', { reason: 'R'.repeat(129) }),
    /events of a message of 1,024/,
  ],
} as const;

/** Requests that RBAC denies. */
const FORBIDDEN = refused('fleet', {
  'replacing a status': [
    { method: 'PUT', path: `${NODE}/status`, body: { metadata: { name: 'node-1' } } },
    /cannot update resource "nodes\/status"/,
  ],
  'deleting an agent': [
    remove('/api/v1/namespaces/gvisor-ready/pods/agent-node-1'),
    /cannot delete resource "pods"/,
  ],
  'changing a pod of the installer, which is root on its node': [
    {
      method: 'PATCH',
      patch: 'json-patch+json',
      path: '/api/v1/namespaces/gvisor-ready/pods/agent-node-1',
      body: [{ op: 'replace', path: '/spec/containers/0/image', value: 'other' }],
    },
    /cannot patch resource "pods"/,
  ],
  'scheduling a pod of another namespace': [
    { method: 'POST', path: '/api/v1/namespaces/default/pods/x/binding', body: {} },
    /cannot create resource "pods\/binding"/,
  ],
  'reading pods of another namespace': [
    { method: 'GET', path: '/api/v1/namespaces/default/pods' },
    /cannot list resource "pods"/,
  ],
  'reading secrets': [{ method: 'GET', path: '/api/v1/secrets' }, /cannot list resource "secrets"/],
});

/** Writes with the token of the fleet controller. */
export const FLEET_GROUPS: readonly Group[] = [
  {
    title: "the fleet controller's token is refused",
    cases: [...refused('fleet', FORGERIES, 422), ...FORBIDDEN],
  },
  {
    title: 'the fleet controller withdraws',
    cases: [
      ...accepted('fleet', {
        'label and condition in one write': withdrawal('AgentLost'),
        'label and condition of an agent that cannot write': withdrawal('AgentCannotWrite'),
        'a condition with the longest message': status({
          status: {
            conditions: [
              { ...conditionOf('GVisorReady', 'Unknown', 'AgentLost'), message: 'm'.repeat(1_024) },
            ],
          },
        }),
        'label and condition after a reboot': withdrawal('NodeRebooted'),
        'the failure of a lost agent': condition('node-2'),
        'the failure of an earlier boot': condition('node-2', 'Unknown', 'NodeRebooted'),
        'the label of an additional handler alone': label(KVM_KEY, 'false'),
        'the labels of all handlers': status({
          metadata: { labels: { [READY_KEY]: 'false', [KVM_KEY]: 'false' } },
        }),
        'a write that changes nothing': label(READY_KEY, 'true'),
        'the event of a reboot': nodeEvent({ reason: 'NodeRebooted' }),
        'the event of an agent that cannot write': nodeEvent({ reason: 'AgentCannotWrite' }),
        'the event of a withdrawal': nodeEvent({ message: 'm'.repeat(1_024) }),
        'an event with the newer name': nodeEvent({ reportingComponent: 'gvisor-ready-fleet' }),
        'an event on the DaemonSet': agentsEvent({}, 'gvisor-ready', { reason: 'Paused' }),
      }),
      ...accepted('nodeAdmin', { "another client's label": label('x', 'y') }),
      ...accepted('admin', { "another client's event": nodeEvent({ reason: 'Other', source: {} }) }),
    ],
  },
  { title: 'events that exist', cases: eventChanges('fleet') },
  {
    title: 'a failing policy denies writes',
    cases: [
      closed('gvisor-ready-fleet', 'fleet', withdrawal('AgentLost')),
      closed('gvisor-ready-fleet-events', 'fleet', nodeEvent()),
    ],
  },
];

const OTHER = { key: 'other', effect: 'NoSchedule' };
const spec = (body: object, node = 'node-4') => patch(`/api/v1/nodes/${node}`, { spec: body });

/** Writes with the component taint. */
export const FLEET_TAINT_GROUPS: readonly Group[] = [
  {
    title: "the fleet controller's token with the component taint",
    cases: [
      ...accepted('fleet', { "the agents' taint": spec({ taints: [TAINT] }) }),
      ...refused(
        'fleet',
        {
          ...withMessage(/leaves the spec of a Node alone/, {
            'another taint': spec({ taints: [OTHER] }),
            'its taint with another effect': spec({ taints: [{ ...TAINT, effect: 'NoExecute' }] }),
            'another taint beside its own': spec({ taints: [TAINT, OTHER] }),
            'the node uncordoned beside its taint': spec({ taints: [TAINT], unschedulable: null }),
            'the node uncordoned': spec({ unschedulable: null }),
            'a provider ID': spec({ providerID: 'forged' }),
            'removing the taint': spec({ taints: [OTHER] }, 'node-2'),
            'removing all taints': spec({ taints: [] }, 'node-2'),
            "removing others' taint": spec({ taints: [TAINT] }, 'node-2'),
          }),
          'the label "true", in a write of the whole Node as well,': [
            patch('/api/v1/nodes/node-2', { metadata: { labels: { [READY_KEY]: 'true' } } }),
            /only from "true" to "false"/,
          ],
        },
        422,
      ),
    ],
  },
];
