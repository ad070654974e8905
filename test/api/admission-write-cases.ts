import { accepted, type Case, type Group, refused, warned, withMessage } from './admission-case.ts';
import { podPath } from './admission-fixture.ts';
import {
  addEphemeral,
  create,
  FLAG,
  patch,
  pod,
  privileged,
  remove,
  strategicPatch,
} from './admission-objects.ts';
import { whileSet } from './admission-setting-cases.ts';
import type { ApiCall } from './api-user.ts';

const image = (path: string, part: 'containers' | 'initContainers' = 'containers', name = 'main') =>
  strategicPatch(path, { spec: { [part]: [{ name, image: 'localhost/other' }] } });
/** Leaves a pod only these scheduling gates. */
const gates = (path: string, ...names: string[]) =>
  patch(path, { spec: { schedulingGates: names.map((name) => ({ name })) } });
const status = (path: string) => strategicPatch(`${path}/status`, { status: { message: 'x' } });
const annotate = (path: string, key: string, value: string | null) =>
  patch(path, { metadata: { annotations: { [key]: value } } });
const flag = (path: string, value: string | null = 'host') => annotate(path, FLAG, value);

type Binding = { readonly namespace?: string; readonly name?: string; readonly annotations?: object };
/** A Binding of a pod (default: `ungated` of `strict`) to a node. */
const bindingOf = ({ name = 'ungated', annotations = {} }: Binding) => ({
  apiVersion: 'v1',
  kind: 'Binding',
  metadata: { name, annotations },
  target: { kind: 'Node', name: 'node-9' },
});
export const bind = (binding: Binding = {}): ApiCall => {
  const { namespace = 'strict', name = 'ungated' } = binding;
  const path = `/api/v1/namespaces/${namespace}/pods/${name}/binding`;
  return { method: 'POST', path, body: bindingOf(binding) };
};
/** The same through the deprecated bindings resource. */
const bindDeprecated = (binding: Binding = {}) => create(binding.namespace ?? 'strict', bindingOf(binding));
const flagged = { annotations: { [FLAG]: 'host' } };

const UNSET = /this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/;
const HAS_FLAG = /this Pod would break that: metadata\.annotations has dev\.gvisor\.flag\.network, which/;

/** Other resources for a container, which its `resizePolicy` may restart for them. */
const resize = (path: string) =>
  strategicPatch(`${path}/resize`, {
    spec: { containers: [{ name: 'main', resources: { requests: { cpu: '2m' } } }] },
  });
const gated = podPath('gated');
const WRITES: readonly Case[] = [
  ...refused('admin', {
    'a flag for runsc': [flag(gated), HAS_FLAG],
    'a flag through the status': [flag(`${gated}/status`), HAS_FLAG],
    'a flag through the Binding': [
      bind(flagged),
      /this Binding would break that: metadata\.annotations has dev\.gvisor\.flag\.network/,
    ],
    'a flag through the deprecated bindings resource': [
      bindDeprecated(flagged),
      /this Binding would break that/,
    ],
  }),
  ...refused('kubelet', { 'a flag through the status': [flag(`${podPath('bound')}/status`), HAS_FLAG] }),
  ...refused('owner', {
    'a privileged ephemeral container': [
      addEphemeral(gated, privileged),
      /would break that: privileged is not allowed here, and the containers debug have it/,
    ],
  }),
  ...accepted('owner', { 'an ephemeral container': addEphemeral(gated) }),
  ...accepted('admin', {
    'a Binding of the scheduler': bind(),
    'another annotation': annotate(gated, 'a', 'b'),
    'a status': status(gated),
    'other resources': resize(gated),
    'another image': image(gated),
    'another image, on its node': image(podPath('bound')),
    'the last gate removed': gates(gated),
    'its deletion': remove(gated),
  }),
];

const STARTS: readonly Case[] = [
  ...refused('admin', {
    'other resources outside gVisor': [resize(podPath('old-resized')), UNSET],
    'another image outside gVisor': [image(podPath('old-plain')), UNSET],
    'another image of an init container': [image(podPath('old-gated'), 'initContainers', 'first'), UNSET],
    'the last gate removed outside gVisor': [gates(podPath('old-gated')), UNSET],
    'the last gate removed with a flag': [gates(podPath('old-flag')), HAS_FLAG],
    'another image with a flag': [image(podPath('old-flag')), HAS_FLAG],
    'the last gate removed with a host directory': [
      gates(podPath('old-host')),
      /this Pod would break that: volumes of these kinds are not allowed here: host;/,
    ],
  }),
  ...refused('owner', {
    'an ephemeral container outside gVisor': [addEphemeral(podPath('old-plain')), UNSET],
  }),
  ...accepted('admin', { 'one of two gates removed': gates(podPath('old-gated'), 'example.com/second') }),
];

const OLD = ['old-plain', 'old-gated', 'old-flag', 'old-host', 'old-many', 'old-port', 'bound'] as const;
const RUNS: readonly Case[] = [
  ...OLD.flatMap((name) =>
    accepted('admin', {
      [`a status of ${name}`]: status(podPath(name)),
      [`a label of ${name}`]: strategicPatch(podPath(name), { metadata: { labels: { a: 'b' } } }),
      [`a finalizer of ${name}`]: strategicPatch(podPath(name), {
        metadata: { finalizers: ['example.com/x'] },
      }),
      [`the deletion of ${name}`]: remove(podPath(name)),
    }),
  ),
  ...refused('admin', {
    'another value of an old flag': [flag(podPath('old-flag'), 'none'), HAS_FLAG],
    'another annotation with too many': [annotate(podPath('old-many'), 'a', 'b'), /more than 1000/],
  }),
  ...accepted('admin', {
    'another annotation with an old flag': annotate(podPath('old-flag'), 'a', 'b'),
    'an old flag removed': flag(podPath('old-flag'), null),
  }),
];

const AUDITED = warned('admin', {
  'a pod that violates two rules': [
    create('audited', pod({ spec: { runtimeClassName: undefined }, ...flagged })),
    /the namespace "audited" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor; metadata\.annotations has dev\.gvisor\.flag\.network/,
  ],
  ...withMessage(/would break that: metadata\.annotations has/, {
    'a flag written to a pod': flag(podPath('gated', 'audited')),
    'a flag written to its status': flag(`${podPath('gated', 'audited')}/status`),
  }),
  ...withMessage(/this Binding would break that/, {
    'a flag in a Binding': bind({ ...flagged, namespace: 'audited' }),
    'a flag in a Binding through the deprecated resource': bindDeprecated({
      ...flagged,
      namespace: 'audited',
    }),
  }),
  ...withMessage(/runtimeClassName is not set/, {
    'an ephemeral container outside gVisor': addEphemeral(podPath('old-plain', 'audited')),
    'other resources outside gVisor': resize(podPath('old-resized', 'audited')),
  }),
});

export const OLDER_POD =
  /the namespace "strict" requires gVisor, and the pod is older than that: its spec\.runtimeClassName is not set: delete it and create it again$/;
/** An unscheduled pod outside gVisor. */
export const older = { name: 'old-ungated' };
const waitingIn = (namespace: string) => bind({ namespace, name: 'waiting' });

/** With the component `enforce-bindings`. */
export const BINDING_GROUPS: readonly Group[] = [
  {
    title: 'an unscheduled pod that is older than the label',
    cases: [
      ...refused('admin', {
        'to bind it': [bind(older), OLDER_POD],
        'to bind it through the deprecated bindings resource': [bindDeprecated(older), OLDER_POD],
        ...withMessage(/the pod is older than that/, {
          'to bind it in no-kube-system': waitingIn('no-kube-system'),
          'to bind it in gvisor-ready-too': waitingIn('gvisor-ready-too'),
        }),
      }),
      ...accepted('admin', {
        'to bind a gVisor pod': bind(),
        'to bind a gVisor pod through the deprecated bindings resource': bindDeprecated(),
        'to bind it with gvisor-ready.dev/require: audit': bind({ ...older, namespace: 'audited' }),
        'to bind it without the requirement': waitingIn('declined'),
        'to bind it in kube-labelled': waitingIn('kube-labelled'),
        'to bind it in gvisor-ready': waitingIn('gvisor-ready'),
      }),
      whileSet(
        ['gvisor-ready-enforce-bindings', 'runtimeClassNames', "['plain']"],
        refused('admin', {
          'to bind a gVisor pod': [
            bind(),
            /its spec\.runtimeClassName is "gvisor": delete it and create it again$/,
          ],
        }),
      ),
      whileSet(
        ['gvisor-ready-enforce-bindings', 'runtimeClass', 'string(1 / 0)'],
        refused('admin', { 'to bind any': [bind(), /division by zero/] }, 422),
      ),
    ],
  },
];

/** Writes that start code in pods older than the label. */
export const START_GROUP: Group = { title: 'writes that start code after the label', cases: STARTS };

/** Writes to pods that exist. */
export const WRITE_GROUPS: readonly Group[] = [
  { title: 'updates of a pod where gVisor is required', cases: WRITES },
  START_GROUP,
  { title: 'pods that are older than the label keep running', cases: RUNS },
  { title: 'a namespace with gvisor-ready.dev/require: audit', cases: AUDITED },
];
