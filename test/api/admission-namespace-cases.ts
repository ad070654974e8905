import assert from 'node:assert/strict';
import { accepted, assertAccepted, type Case, type Group, refused, withMessage } from './admission-case.ts';
import { type Admission, waitForResponse } from './admission-cluster.ts';
import { create, patch, pod, remove } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';

const NAMESPACES = '/api/v1/namespaces';
/** Writes a label of a namespace (default: `gvisor-ready.dev/require`), or removes it with null. */
export const label = (namespace: string, value: string | null, key = 'gvisor-ready.dev/require') =>
  patch(`${NAMESPACES}/${namespace}`, { metadata: { labels: { [key]: value } } });
const REQUIRED = { 'gvisor-ready.dev/require': 'true' };
const ALLOWED = { 'gvisor-ready.dev/allow-host-kernel': 'true' };
/** Another label of a namespace. */
const team = (namespace: string) => label(namespace, 'x', 'team');
const consent = (namespace: string, value: string | null = 'true') =>
  label(namespace, value, 'gvisor-ready.dev/allow-host-kernel');
export const removeNamespace = (name: string) => remove(`${NAMESPACES}/${name}`);
const createNamespace = (labels: object, metadata: object = { generateName: 'new-' }): ApiCall => ({
  method: 'POST',
  path: NAMESPACES,
  body: { apiVersion: 'v1', kind: 'Namespace', metadata: { ...metadata, labels } },
});
/** Replaces a Namespace, or a subresource of it, without its labels. */
const put =
  (subresource: string) =>
  async ({ as }: Admission): Promise<ApiCall> => {
    const path = `${NAMESPACES}/strict`;
    const { body } = await as('admin', { method: 'GET', path });
    const { metadata, ...rest } = body as { readonly metadata: object };
    return {
      method: 'PUT',
      path: `${path}${subresource}`,
      body: { ...rest, metadata: { ...metadata, labels: {} } },
    };
  };
const applied: ApiCall = {
  method: 'PATCH',
  path: `${NAMESPACES}/strict?fieldManager=test&force=true`,
  patch: 'apply-patch+yaml',
  body: {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'strict', labels: { 'gvisor-ready.dev/require': 'false' } },
  },
};

const LIFT =
  /the namespace "strict" requires gVisor: to change its label gvisor-ready.dev\/require from "true" needs the verb manage-gvisor-requirement on this namespace \(ClusterRole gvisor-ready-requirement\)$/;
const DELETE =
  /the namespace "strict" requires gVisor: to delete it needs the verb manage-gvisor-requirement on this namespace \(ClusterRole gvisor-ready-requirement\), or the verb delete-gvisor-namespace$/;
const CONSENT = (name: string) =>
  new RegExp(
    `the namespace "${name}" would let code onto the host's kernel: to set its label gvisor-ready.dev/allow-host-kernel to "true" needs the verb manage-gvisor-requirement on this namespace`,
  );
const BOTH =
  /cannot require gVisor and allow the host's kernel: take the label gvisor-ready.dev\/require or gvisor-ready.dev\/allow-host-kernel off$/;
const NO_EFFECT = (value: string) =>
  new RegExp(
    `the label gvisor-ready.dev/require is "${value}", which would require nothing: write "true", "audit" \\(warns only\\) or "false"$`,
  );
const SYSTEM = (name: string) =>
  new RegExp(
    `the namespace "${name}" is the system's own and cannot require gVisor, since its pods need the host`,
  );

const WITHOUT: readonly Case[] = [
  ...refused(
    'operator',
    withMessage(LIFT, {
      'to remove it': label('strict', null),
      'to set it to "false"': label('strict', 'false'),
      'to set it to "audit"': label('strict', 'audit'),
      'to write the namespace without labels': put(''),
      'to write the status without labels': put('/status'),
      'to write the finalizers without labels': put('/finalize'),
      'to apply another value': applied,
    }),
  ),
  ...refused('operator', { 'to delete the namespace': [removeNamespace('strict'), DELETE] }),
  ...refused('owner', {
    'to remove it, as admin of the namespace,': [label('strict', null), LIFT],
    'to delete the namespace, as admin of it,': [removeNamespace('strict'), DELETE],
  }),
  ...refused('single', {
    'to remove it from another namespace': [
      label('another', null),
      /the namespace "another" requires gVisor/,
    ],
    'to delete another namespace': [removeNamespace('another'), /"another" requires gVisor: to delete/],
  }),
  ...accepted('operator', {
    'to write another label': team('strict'),
    'to add it': label('free', 'true'),
    'to set "audit" to "true"': label('audited', 'true'),
    'to remove "audit"': label('audited', null),
    'to create a namespace with it': createNamespace(REQUIRED),
    'to create a namespace without': createNamespace({}),
    'to delete a namespace that has none': removeNamespace('free'),
  }),
];

const WITH: readonly Case[] = [
  ...accepted('admin', { 'to remove it': label('strict', null) }),
  ...(['lifter', 'single'] as const).flatMap((user) =>
    accepted(user, {
      'to remove it': label('strict', null),
      'to delete the namespace': removeNamespace('strict'),
    }),
  ),
  ...accepted('deleter', { 'to delete the namespace': removeNamespace('strict') }),
  ...refused('deleter', {
    'to remove it': [label('strict', null), LIFT],
    "to allow the host's kernel": [consent('free'), CONSENT('free')],
  }),
];

const CONSENTS: readonly Case[] = [
  ...refused('operator', {
    'to consent': [consent('free'), CONSENT('free')],
    'to consent after a refusal': [consent('declined'), CONSENT('declined')],
    'to consent in kube-system': [consent('kube-system'), CONSENT('kube-system')],
    'to create a namespace with it': [createNamespace(ALLOWED, { name: 'new' }), CONSENT('new')],
  }),
  ...refused('owner', {
    'to consent, as admin of the namespace,': [consent('strict'), CONSENT('strict')],
  }),
  ...refused('single', { 'to consent in another namespace': [consent('free'), CONSENT('free')] }),
  ...accepted('operator', {
    'to set "false"': consent('free', 'false'),
    'to withdraw it': consent('consenting', null),
    'to change it to "false"': consent('consenting', 'false'),
    'another label of its namespace': team('consenting'),
    'to delete the namespace': removeNamespace('consenting'),
    'another label of an older namespace with both': team('both'),
    'to remove the consent from both': consent('both', null),
    'to audit its namespace': label('consenting', 'audit'),
  }),
  ...accepted('lifter', {
    'to consent': consent('free'),
    'to create a namespace with it': createNamespace(ALLOWED),
  }),
  ...refused(
    'lifter',
    withMessage(BOTH, {
      'to consent where gVisor is required': consent('strict'),
      'to require gVisor in its namespace': label('consenting', 'true'),
      'both at once': createNamespace({ ...ALLOWED, ...REQUIRED }),
    }),
    422,
  ),
  ...refused(
    'admin',
    {
      '"yes"': [
        consent('free', 'yes'),
        /the label gvisor-ready.dev\/allow-host-kernel is "yes", which would allow nothing: write "true" or "false"$/,
      ],
    },
    422,
  ),
];

/** Keys that only resemble one of the labels. */
const misspelt = (is: string, ...keys: readonly string[]) =>
  Object.fromEntries(
    keys.map((key) => {
      const message = new RegExp(`the label "${key}" has no effect: its key is ${is}, written exactly so$`);
      return [`the key ${key}`, [label('free', 'true', key), message] as const];
    }),
  );
const MISSPELT: readonly Case[] = [
  ...refused(
    'admin',
    {
      'a new namespace with "True"': [
        createNamespace({ 'gvisor-ready.dev/require': 'True' }),
        NO_EFFECT('True'),
      ],
      '"yes"': [label('free', 'yes'), NO_EFFECT('yes')],
      'an empty value': [label('free', ''), NO_EFFECT('')],
      ...misspelt(
        'gvisor-ready.dev/require',
        ...['require-gvisor', 'gvisor-ready.dev/requires', 'gvisor-ready.io/require', 'require_gvisor'],
        ...[
          'require-gvisors',
          'require-gvsior',
          'requre-gvisor',
          'gvisor-required',
          'gvisor-ready.dev/require-gvisor',
        ],
      ),
      ...misspelt(
        'gvisor-ready.dev/allow-host-kernel',
        ...['allow-host-kernel', 'Allow-Host-Kernel', 'allow_host_kernel', 'allowhostkernel'],
        'gvisor-ready.dev/allows-host-kernel',
      ),
      'a new namespace with such a key': [
        createNamespace({ REQUIRE_GVISOR: 'true' }),
        /the label "REQUIRE_GVISOR" has no effect: its key is gvisor-ready.dev\/require, written exactly so$/,
      ],
    },
    422,
  ),
  ...accepted('admin', {
    'another label of a namespace with old values and an old key': team('mistyped'),
    'an old "yes" corrected': label('mistyped', 'true'),
    'an old "yes" removed': label('mistyped', null),
    'a key of another domain': label('free', 'true', 'example.com/require-gvisor'),
    ...Object.fromEntries(
      ['gvisor', 'gvisor-team', 'required-by', 'gvisor-ready.dev/team'].map((key) => [
        `the key ${key}`,
        label('free', 'true', key),
      ]),
    ),
  }),
];

const SYSTEM_NAMESPACES: readonly Case[] = [
  ...['kube-system', 'kube-public', 'kube-node-lease'].flatMap((name) =>
    refused('operator', { [`"true" for ${name}`]: [label(name, 'true'), SYSTEM(name)] }, 422),
  ),
  ...refused(
    'admin',
    {
      '"audit" for kube-system': [label('kube-system', 'audit'), SYSTEM('kube-system')],
      'a new namespace kube-*': [createNamespace(REQUIRED, { name: 'kube-new' }), SYSTEM('kube-new')],
    },
    422,
  ),
  ...refused(
    'operator',
    withMessage(/requires gVisor: to change its label/, {
      'to remove it from no-kube-system': label('no-kube-system', null),
      'to remove it from gvisor-ready-too': label('gvisor-ready-too', null),
    }),
  ),
  ...accepted('operator', {
    '"false" for kube-system': label('kube-system', 'false'),
    'another label of kube-system': team('kube-system'),
  }),
  ...['kube-labelled', 'gvisor-ready'].flatMap((name) => [
    ...refused(
      'admin',
      { [`"audit" for ${name}, which has an old one`]: [label(name, 'audit'), SYSTEM(name)] },
      422,
    ),
    ...accepted('operator', {
      [`another label of ${name}, which has an old one`]: team(name),
      [`to remove an old one from ${name}`]: label(name, null),
      [`to delete ${name}`]: removeNamespace(name),
    }),
  ]),
];

const DELETION: Case = {
  what: 'is deleted with its content without a second check of the right',
  run: async ({ as }) => {
    const name = `ends-${Date.now()}`;
    const path = `${NAMESPACES}/${name}`;
    assertAccepted(await as('operator', createNamespace(REQUIRED, { name })));
    const metadata = { name: 'terminating', finalizers: ['example.com/test'] };
    const createTerminating = () => as('admin', create(name, { ...pod(), metadata }));
    await waitForResponse('a pod', createTerminating, ({ code }) => code === 201);
    assertAccepted(await as('lifter', remove(path)));
    const isTerminating = ({ body }: { readonly body: unknown }) =>
      (body as { status?: { phase?: string } }).status?.phase === 'Terminating';
    const read = () => as('admin', { method: 'GET', path });
    await waitForResponse('the namespace to end', read, isTerminating);
    const again = await as('operator', remove(path));
    assert.notEqual(again.code, 403, again.message);
    await as('admin', patch(`${path}/pods/terminating`, { metadata: { finalizers: null } }));
    await waitForResponse('the namespace to be gone', read, ({ code }) => code === 404);
  },
};

/** Writes of the namespace label by each user. */
export const NAMESPACE_GROUPS: readonly Group[] = [
  { title: 'the label of a namespace, without the right to lift it', cases: WITHOUT },
  { title: 'the label of a namespace, with the right to lift it', cases: WITH },
  { title: "the consent to run on the host's kernel", cases: CONSENTS },
  { title: 'a misspelt label', cases: MISSPELT },
  { title: 'system namespaces', cases: SYSTEM_NAMESPACES },
  { title: 'a namespace that requires gVisor', cases: [DELETION] },
];
