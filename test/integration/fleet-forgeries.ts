import { DOMAIN } from '../e2e/agents.ts';
import type { Call } from '../e2e/api-user.ts';
import { conditionOf, READY } from './fleet-objects.ts';

const NODE = '/api/v1/nodes/node-1';
const status = (body: object): Call => ({
  method: 'PATCH',
  path: `${NODE}/status`,
  patch: 'strategic-merge-patch+json',
  body,
});
const label = (key: string, value: string | null) => status({ metadata: { labels: { [key]: value } } });
const condition = (...words: Parameters<typeof conditionOf>) =>
  status({ status: { conditions: [conditionOf(...words)] } });
const events = (namespace: string, body: object): Call => ({
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
const aboutNode = { involvedObject: { apiVersion: 'v1', kind: 'Node', name: 'node-1' } };

const TAINT = { key: `${DOMAIN}/not-ready`, effect: 'NoSchedule' };
const spec = (body: object, node = 'node-1'): Call => ({
  method: 'PATCH',
  path: `/api/v1/nodes/${node}`,
  body: { spec: body },
});

/** With the component taint: the taint that the controller adds to node-1, */
export const ADDED = spec({ taints: [TAINT] });
/** and what is still refused; node-2 has that taint, and one of others. */
export const TAINT_FORGERIES: readonly (readonly [what: string, call: Call])[] = [
  ['another taint', spec({ taints: [{ key: 'other', effect: 'NoSchedule' }] })],
  ['its taint with another effect', spec({ taints: [{ ...TAINT, effect: 'NoExecute' }] })],
  ['another taint beside its own', spec({ taints: [TAINT, { key: 'other', effect: 'NoSchedule' }] })],
  ['a cordon beside its taint', spec({ taints: [TAINT], unschedulable: true })],
  ['a cordon', spec({ unschedulable: true })],
  ['a provider ID', spec({ providerID: 'forged' })],
  ['removing the taint', spec({ taints: [{ key: 'other', effect: 'NoSchedule' }] }, 'node-2')],
  ['removing all taints', spec({ taints: [] }, 'node-2')],
  ['removing the taint of others', spec({ taints: [TAINT] }, 'node-2')],
];

/**
 * What the controller's token is refused, and why. node-1 is labelled "true" and proven, node-2 is labelled "false" and
 * its condition is False, node-3 has neither.
 */
export const FORGERIES: readonly (readonly [what: string, call: Call, why: RegExp])[] = [
  [
    'granting the label to a node that lost it',
    { ...label(READY, 'true'), path: '/api/v1/nodes/node-2/status' },
    /only from "true" to "false"/,
  ],
  [
    'granting the label to a node that never had it',
    { ...label(READY, 'true'), path: '/api/v1/nodes/node-3/status' },
    /only from "true" to "false"/,
  ],
  [
    'a label "false" where there was none',
    { ...label(READY, 'false'), path: '/api/v1/nodes/node-3/status' },
    /only from "true" to "false"/,
  ],
  ['removing the label', label(READY, null), /writes only the label|only from "true" to "false"/],
  ['another value of the label', label(READY, 'maybe'), /only from "true" to "false"/],
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
  ['another reason', condition('GVisorReady', 'Unknown', 'NotVisible'), /only from True to Unknown/],
  [
    'another message of a condition that stays True',
    status({ status: { conditions: [{ type: 'GVisorReady', message: 'forged' }] } }),
    /only from True to Unknown/,
  ],
  [
    'the condition of a node that is known to be broken',
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
    'the annotation that says by whom the node was proven',
    status({ metadata: { annotations: { [`${DOMAIN}/proven-by`]: null } } }),
    /rest of a Node's metadata/,
  ],
  [
    'the annotation that says in which boot the node was proven',
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
  [
    'a Node that is not only its status',
    { method: 'PATCH', path: NODE, body: { metadata: { labels: { [READY]: 'false' } } } },
    /cannot patch resource "nodes"/,
  ],
  [
    'a taint',
    { method: 'PATCH', path: NODE, body: { spec: { unschedulable: true } } },
    /cannot patch resource/,
  ],
  ['deleting a Node', { method: 'DELETE', path: NODE }, /cannot delete resource "nodes"/],
  [
    'creating a Node',
    { method: 'POST', path: '/api/v1/nodes', body: { metadata: { name: 'forged' } } },
    /cannot create resource "nodes"/,
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
  ['an event elsewhere', events('kube-system', aboutNode), /cannot create resource "events"/],
];
