import assert from 'node:assert/strict';
import { accepted, assertAccepted, type Case, type Group, refused } from './admission-case.ts';
import { type Admission, waitForResponse } from './admission-cluster.ts';
import { create, pod } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';

const DRY = '?dryRun=All';
const patch = (path: string, body: object): ApiCall => ({ method: 'PATCH', path, body });
const label = (namespace: string, value: string | null, key = 'require-gvisor', query = DRY) =>
  patch(`/api/v1/namespaces/${namespace}${query}`, { metadata: { labels: { [key]: value } } });
const remove = (namespace: string, query = DRY): ApiCall => ({
  method: 'DELETE',
  path: `/api/v1/namespaces/${namespace}${query}`,
});
const createNamespace = (
  labels: object,
  metadata: object = { generateName: 'new-' },
  query = DRY,
): ApiCall => ({
  method: 'POST',
  path: `/api/v1/namespaces${query}`,
  body: { apiVersion: 'v1', kind: 'Namespace', metadata: { ...metadata, labels } },
});
/** Replaces a Namespace, or a subresource of it, without its labels. */
const put =
  (subresource: string) =>
  async ({ as }: Admission): Promise<ApiCall> => {
    const path = '/api/v1/namespaces/strict';
    const { body } = await as('admin', { method: 'GET', path });
    const { metadata, ...rest } = body as { readonly metadata: object };
    return {
      method: 'PUT',
      path: `${path}${subresource}${DRY}`,
      body: { ...rest, metadata: { ...metadata, labels: {} } },
    };
  };

const CONSENT = 'allow-host-kernel';
const consent = (name: string) =>
  new RegExp(
    `the namespace "${name}" would let code onto the host's kernel: to set its label allow-host-kernel to "true" needs the verb manage-gvisor-requirement on this namespace`,
  );
const LIFT =
  /the namespace "strict" requires gVisor: to change its label require-gvisor from "true" needs the verb manage-gvisor-requirement on this namespace \(ClusterRole gvisor-ready-requirement\)$/;
const DELETE =
  /the namespace "strict" requires gVisor: to delete it needs the verb manage-gvisor-requirement on this namespace \(ClusterRole gvisor-ready-requirement\), or the verb delete-gvisor-namespace$/;
const operator = { as: 'operator' } as const;
const owner = { as: 'owner' } as const;
const single = { as: 'single' } as const;
const applied: ApiCall = {
  ...label('strict', 'false', 'require-gvisor', `${DRY}&fieldManager=test&force=true`),
  patch: 'apply-patch+yaml',
  body: {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'strict', labels: { 'require-gvisor': 'false' } },
  },
};

const key = (name: string, is = 'require-gvisor') =>
  new RegExp(`the label "${name}" has no effect: its key is ${is}, written exactly so$`);

const WITHOUT: readonly Case[] = [
  refused('to remove it', label('strict', null), LIFT, operator),
  refused('to set it to "false"', label('strict', 'false'), LIFT, operator),
  refused('to set it to "audit"', label('strict', 'audit'), LIFT, operator),
  refused('to write the namespace without labels', put(''), LIFT, operator),
  refused('to write the status without labels', put('/status'), LIFT, operator),
  refused('to write the finalizers without labels', put('/finalize'), LIFT, operator),
  refused('to apply another value', applied, LIFT, operator),
  refused('to delete the namespace', remove('strict'), DELETE, operator),
  refused('to remove it, as admin of the namespace,', label('strict', null), LIFT, owner),
  refused('to delete the namespace, as admin of it,', remove('strict'), DELETE, owner),
  refused(
    'to remove it from another namespace',
    label('another', null),
    /the namespace "another" requires gVisor/,
    single,
  ),
  refused('to delete another namespace', remove('another'), /"another" requires gVisor: to delete/, single),
  accepted('to write another label', label('strict', 'x', 'team'), operator),
  accepted('to add it', label('free', 'true'), operator),
  accepted('to set "audit" to "true"', label('audited', 'true'), operator),
  accepted('to remove "audit"', label('audited', null), operator),
  accepted('to create a namespace with it', createNamespace({ 'require-gvisor': 'true' }), operator),
  accepted('to create a namespace without', createNamespace({}), operator),
  accepted('to delete a namespace that has none', remove('free'), operator),
];

const WITH: readonly Case[] = [
  accepted('to remove it', label('strict', null), { as: 'lifter' }),
  accepted('to delete the namespace', remove('strict'), { as: 'lifter' }),
  accepted('to remove it', label('strict', null)),
  accepted('to remove it from the namespace of the right', label('strict', null), single),
  accepted('to delete the namespace of the right', remove('strict'), single),
  accepted('to delete the namespace', remove('strict'), { as: 'deleter' }),
  refused('to remove it', label('strict', null), LIFT, { as: 'deleter' }),
  refused("to allow the host's kernel", label('free', 'true', CONSENT), consent('free'), { as: 'deleter' }),
];

const BOTH =
  /cannot require gVisor and allow the host's kernel: take the label require-gvisor or allow-host-kernel off$/;
const CONSENTS: readonly Case[] = [
  refused('to consent', label('free', 'true', CONSENT), consent('free'), operator),
  refused('to consent after a refusal', label('declined', 'true', CONSENT), consent('declined'), operator),
  refused(
    'to consent in kube-system',
    label('kube-system', 'true', CONSENT),
    consent('kube-system'),
    operator,
  ),
  refused(
    'to create a namespace with it',
    createNamespace({ [CONSENT]: 'true' }, { name: 'new' }),
    consent('new'),
    operator,
  ),
  refused(
    'to consent, as admin of the namespace,',
    label('strict', 'true', CONSENT),
    consent('strict'),
    owner,
  ),
  refused('to consent in another namespace', label('free', 'true', CONSENT), consent('free'), single),
  accepted('to set "false"', label('free', 'false', CONSENT), operator),
  accepted('to withdraw it', label('consenting', null, CONSENT), operator),
  accepted('to change it to "false"', label('consenting', 'false', CONSENT), operator),
  accepted('another label of its namespace', label('consenting', 'x', 'team'), operator),
  accepted('to delete the namespace', remove('consenting'), operator),
  accepted('to consent', label('free', 'true', CONSENT), { as: 'lifter' }),
  accepted('to create a namespace with it', createNamespace({ [CONSENT]: 'true' }), { as: 'lifter' }),
  refused('to consent where gVisor is required', label('strict', 'true', CONSENT), BOTH, {
    as: 'lifter',
    code: 422,
  }),
  refused('to require gVisor in its namespace', label('consenting', 'true'), BOTH, {
    as: 'lifter',
    code: 422,
  }),
  refused('both at once', createNamespace({ [CONSENT]: 'true', 'require-gvisor': 'true' }), BOTH, {
    as: 'lifter',
    code: 422,
  }),
  accepted('another label of an older namespace with both', label('both', 'x', 'team'), operator),
  accepted('to remove the consent from both', label('both', null, CONSENT), operator),
  accepted('to audit its namespace', label('consenting', 'audit'), operator),
  refused(
    '"yes"',
    label('free', 'yes', CONSENT),
    /the label allow-host-kernel is "yes", which would allow nothing: write "true" or "false"$/,
    { code: 422 },
  ),
  accepted('another label of a namespace with an old "yes"', label('mistyped', 'x', 'team')),
  ...[
    'Allow-Host-Kernel',
    'allow_host_kernel',
    'allowhostkernel',
    'allow.host.kernel',
    'allows-host-kernel',
  ].map((name) =>
    refused(`the key ${name}`, label('free', 'true', name), key(name, 'allow-host-kernel'), { code: 422 }),
  ),
];

const invalid = { code: 422 } as const;
const slip = (value: string) =>
  new RegExp(
    `the label require-gvisor is "${value}", which would require nothing: write "true", "audit" \\(warns only\\) or "false"$`,
  );
const MISSPELT: readonly Case[] = [
  refused(
    'a new namespace with "True"',
    createNamespace({ 'require-gvisor': 'True' }),
    slip('True'),
    invalid,
  ),
  refused('"yes"', label('free', 'yes'), slip('yes'), invalid),
  refused('an empty value', label('free', ''), slip(''), invalid),
  accepted('another label of a namespace with an old "yes"', label('mistyped', 'x', 'team')),
  accepted('an old "yes" corrected', label('mistyped', 'true')),
  accepted('an old "yes" removed', label('mistyped', null)),
  ...['Require-gVisor', 'require_gvisor', 'requires-gvisor', 'requiregvisor', 'require.gvisor'].map((name) =>
    refused(`the key ${name}`, label('free', 'true', name), key(name), invalid),
  ),
  refused(
    'a new namespace with such a key',
    createNamespace({ REQUIRE_GVISOR: 'true' }),
    key('REQUIRE_GVISOR'),
    invalid,
  ),
  accepted('another label of a namespace with an old key', label('mistyped', 'x', 'team')),
  accepted('a key of another domain', label('free', 'true', 'example.com/require-gvisor')),
];

const SYSTEM = (name: string) =>
  new RegExp(
    `the namespace "${name}" is the system's own and cannot require gVisor, since its pods need the host`,
  );
const SYSTEM_NAMESPACES: readonly Case[] = [
  ...['kube-system', 'kube-public', 'kube-node-lease'].map((name) =>
    refused(`"true" for ${name}`, label(name, 'true'), SYSTEM(name), { ...operator, code: 422 }),
  ),
  refused('"audit" for kube-system', label('kube-system', 'audit'), SYSTEM('kube-system'), invalid),
  refused(
    'a new namespace kube-*',
    createNamespace({ 'require-gvisor': 'true' }, { name: 'kube-new' }),
    SYSTEM('kube-new'),
    invalid,
  ),
  ...['no-kube-system', 'gvisor-ready-too'].map((name) =>
    refused(`to remove it from ${name}`, label(name, null), /requires gVisor: to change its label/, operator),
  ),
  accepted('"false" for kube-system', label('kube-system', 'false'), operator),
  accepted('another label of kube-system', label('kube-system', 'x', 'team'), operator),
  ...['kube-labelled', 'gvisor-ready'].flatMap((name) => [
    accepted(`another label of ${name}, which has an old one`, label(name, 'x', 'team'), operator),
    refused(`"audit" for ${name}, which has an old one`, label(name, 'audit'), SYSTEM(name), invalid),
    accepted(`to remove an old one from ${name}`, label(name, null), operator),
    accepted(`to delete ${name}`, remove(name), operator),
  ]),
];

const DELETION: Case = {
  what: 'is deleted with its content without a second check of the right',
  run: async ({ as }) => {
    const name = `ends-${Date.now()}`;
    const path = `/api/v1/namespaces/${name}`;
    assertAccepted(await as('operator', createNamespace({ 'require-gvisor': 'true' }, { name }, '')));
    const pods = create(name, {
      ...(pod() as object),
      metadata: { name: 'terminating', finalizers: ['example.com/test'] },
    });
    await waitForResponse(
      'a pod',
      () => as('admin', pods),
      ({ code }) => code === 201,
    );
    assertAccepted(await as('lifter', remove(name, '')));
    const isTerminating = ({ body }: { readonly body: unknown }) =>
      (body as { status?: { phase?: string } }).status?.phase === 'Terminating';
    await waitForResponse('the namespace to end', () => as('admin', { method: 'GET', path }), isTerminating);
    const again = await as('operator', remove(name, ''));
    assert.notEqual(again.code, 403, again.message);
    await as('admin', patch(`${path}/pods/terminating`, { metadata: { finalizers: null } }));
    await waitForResponse(
      'the namespace to be gone',
      () => as('admin', { method: 'GET', path }),
      ({ code }) => code === 404,
    );
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
