import { accepted, type Case, type Group, refused, warned } from './admission-case.ts';
import { podPath } from './admission-fixture.ts';
import { addEphemeral, annotate, create, FLAG, pod, privileged } from './admission-objects.ts';
import { whileSet } from './admission-setting-cases.ts';
import type { ApiCall } from './api-user.ts';

const DRY = '?dryRun=All';
/** Merges something into a pod, in a dry run. */
const patch = (path: string, body: object, subresource = ''): ApiCall => ({
  method: 'PATCH',
  path: `${path}${subresource}${DRY}`,
  patch: 'strategic-merge-patch+json',
  body,
});
const image = (path: string, part: 'containers' | 'initContainers' = 'containers', name = 'main') =>
  patch(path, { spec: { [part]: [{ name, image: 'localhost/other' }] } });
const gates = (path: string, ...names: string[]): ApiCall => ({
  ...patch(path, { spec: { schedulingGates: names.map((name) => ({ name })) } }),
  patch: 'merge-patch+json',
});
const status = (path: string) => patch(path, { status: { message: 'x' } }, '/status');
const debug = (path: string, part: object = {}): ApiCall => {
  const call = addEphemeral(path, part);
  return { ...call, path: `${call.path}${DRY}` };
};
/** Binds a pod (default: `ungated`) to a node through its subresource, or with a Binding object. */
function bind(
  annotations = {},
  isOld = false,
  namespace: 'strict' | 'audited' = 'strict',
  name: 'ungated' | 'old-ungated' = 'ungated',
): ApiCall {
  const body = {
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name, annotations },
    target: { kind: 'Node', name: 'node-9' },
  };
  if (isOld) return create(namespace, body, 'dryRun=All');
  return { method: 'POST', path: `${podPath(name, namespace)}/binding${DRY}`, body };
}
const flag = (path: string, value: string | null) => annotate(`${path}${DRY}`, { [FLAG]: value });

const UNSET = /this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/;
const OLD_FLAG = /this Pod would break that: metadata\.annotations has dev\.gvisor\.flag\.network, which/;

const gated = podPath('gated');
const WRITES: readonly Case[] = [
  refused('a flag for runsc', flag(gated, 'host'), OLD_FLAG),
  refused('a flag through the status', flag(`${gated}/status`, 'host'), OLD_FLAG),
  refused('a flag through the status', flag(`${podPath('bound')}/status`, 'host'), OLD_FLAG, {
    as: 'kubelet',
  }),
  refused(
    'a flag through the Binding',
    bind({ [FLAG]: 'host' }),
    /this Binding would break that: metadata\.annotations has dev\.gvisor\.flag\.network/,
  ),
  refused(
    'a flag through the deprecated bindings resource',
    bind({ [FLAG]: 'host' }, true),
    /this Binding would break that/,
  ),
  accepted('a Binding of the scheduler', bind()),
  accepted('another annotation', annotate(`${gated}${DRY}`, { a: 'b' })),
  accepted('a status', status(gated)),
  accepted(
    'other resources',
    patch(
      gated,
      { spec: { containers: [{ name: 'main', resources: { requests: { cpu: '2m' } } }] } },
      '/resize',
    ),
  ),
  accepted('another image', image(gated)),
  accepted('another image, on its node', image(podPath('bound'))),
  accepted('the last gate removed', gates(gated)),
  accepted('an ephemeral container', debug(gated), { as: 'owner' }),
  refused(
    'a privileged ephemeral container',
    debug(gated, privileged),
    /would break that: privileged is not allowed here, and the containers debug have it/,
    { as: 'owner' },
  ),
  accepted('its deletion', { method: 'DELETE', path: `${gated}${DRY}` }),
];

const STARTS: readonly Case[] = [
  refused('another image outside gVisor', image(podPath('old-plain')), UNSET),
  refused(
    'another image of an init container',
    image(podPath('old-gated'), 'initContainers', 'first'),
    UNSET,
  ),
  refused('an ephemeral container outside gVisor', debug(podPath('old-plain')), UNSET, { as: 'owner' }),
  accepted('one of two gates removed', gates(podPath('old-gated'), 'example.com/second')),
  refused('the last gate removed outside gVisor', gates(podPath('old-gated')), UNSET),
  refused('the last gate removed with a flag', gates(podPath('old-flag')), OLD_FLAG),
  refused('another image with a flag', image(podPath('old-flag')), OLD_FLAG),
  refused(
    'the last gate removed with a host directory',
    gates(podPath('old-host')),
    /this Pod would break that: volumes of these kinds are not allowed here: host;/,
  ),
];

const RUNS: readonly Case[] = (
  ['old-plain', 'old-gated', 'old-flag', 'old-host', 'old-many', 'old-port', 'bound'] as const
).flatMap((name) => [
  accepted(`a status of ${name}`, status(podPath(name))),
  accepted(`a label of ${name}`, patch(podPath(name), { metadata: { labels: { a: 'b' } } })),
  accepted(`a finalizer of ${name}`, patch(podPath(name), { metadata: { finalizers: ['example.com/x'] } })),
  accepted(`the deletion of ${name}`, { method: 'DELETE', path: `${podPath(name)}${DRY}` }),
]);
const FLAGS: readonly Case[] = [
  refused('another value of an old flag', flag(podPath('old-flag'), 'none'), OLD_FLAG),
  accepted('another annotation with an old flag', annotate(`${podPath('old-flag')}${DRY}`, { a: 'b' })),
  refused(
    'another annotation with too many',
    annotate(`${podPath('old-many')}${DRY}`, { a: 'b' }),
    /more than 1000/,
  ),
  accepted('an old flag removed', flag(podPath('old-flag'), null)),
];

const AUDITED: readonly Case[] = [
  warned(
    'a pod that violates two rules',
    create(
      'audited',
      pod({ spec: { runtimeClassName: undefined }, annotations: { [FLAG]: 'x' } }),
      'dryRun=All',
    ),
    /the namespace "audited" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor; metadata\.annotations has dev\.gvisor\.flag\.network/,
  ),
  ...(['', '/status'] as const).map((subresource) =>
    warned(
      `a flag written to a pod${subresource}`,
      flag(`${podPath('gated', 'audited')}${subresource}`, 'x'),
      /would break that: metadata\.annotations has/,
    ),
  ),
  ...[true, false].map((isOld) =>
    warned(
      `a flag in a Binding${isOld ? ' through the deprecated resource' : ''}`,
      bind({ [FLAG]: 'x' }, isOld, 'audited'),
      /this Binding would break that/,
    ),
  ),
  warned(
    'an ephemeral container outside gVisor',
    debug(podPath('old-plain', 'audited')),
    /runtimeClassName is not set/,
  ),
];

const OLDER_POD =
  /the namespace "strict" requires gVisor, and the pod is older than that: its spec\.runtimeClassName is not set: delete it and create it again$/;
/** With the component `enforce-bindings`. */
export const BINDING_GROUPS: readonly Group[] = [
  {
    title: 'an unscheduled pod that is older than the label',
    cases: [
      refused('to bind it', bind({}, false, 'strict', 'old-ungated'), OLDER_POD),
      refused(
        'to bind it through the deprecated bindings resource',
        bind({}, true, 'strict', 'old-ungated'),
        OLDER_POD,
      ),
      accepted('to bind a gVisor pod', bind()),
      accepted('to bind a gVisor pod through the deprecated bindings resource', bind({}, true)),
      accepted('to bind it with require-gvisor: audit', bind({}, false, 'audited', 'old-ungated')),
      accepted('to bind it without the requirement', bindIn('declined')),
      ...['kube-labelled', 'gvisor-ready'].map((namespace) =>
        accepted(`to bind it in ${namespace}`, bindIn(namespace)),
      ),
      ...['no-kube-system', 'gvisor-ready-too'].map((namespace) =>
        refused(`to bind it in ${namespace}`, bindIn(namespace), /the pod is older than that/),
      ),
      whileSet(
        ['gvisor-ready-enforce-bindings', 'runtimeClassNames', "['plain']"],
        [
          refused(
            'to bind a gVisor pod',
            bind(),
            /its spec\.runtimeClassName is "gvisor": delete it and create it again$/,
          ),
        ],
      ),
      whileSet(
        ['gvisor-ready-enforce-bindings', 'runtimeClass', 'string(1 / 0)'],
        [refused('to bind any', bind(), /division by zero/, { code: 422 })],
      ),
    ],
  },
];

/** Binds the pod `waiting` of a namespace. */
function bindIn(namespace: string): ApiCall {
  return {
    method: 'POST',
    path: `/api/v1/namespaces/${namespace}/pods/waiting/binding${DRY}`,
    body: {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name: 'waiting' },
      target: { kind: 'Node', name: 'node-9' },
    },
  };
}

/** Writes that start code in pods older than the label. */
export const START_GROUP: Group = { title: 'writes that start code after the label', cases: STARTS };

/** Writes to pods that exist. */
export const WRITE_GROUPS: readonly Group[] = [
  { title: 'updates of a pod where gVisor is required', cases: WRITES },
  START_GROUP,
  { title: 'pods that are older than the label keep running', cases: [...RUNS, ...FLAGS] },
  { title: 'a namespace with require-gvisor: audit', cases: AUDITED },
];
