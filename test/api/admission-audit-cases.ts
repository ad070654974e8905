import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { AUDIT_LOG } from '../../cluster/control-plane/control-plane.ts';
import { waitFor } from '../../hack/run.ts';
import { accepted, type Case, type Group, warned } from './admission-case.ts';
import { create, createRuntimeClass, pod, workload } from './admission-objects.ts';
import { whileSet } from './admission-setting-cases.ts';
import type { ApiCall } from './api-user.ts';

type Line = { readonly requestURI: string; readonly annotations?: Readonly<Record<string, string>> };
let last = 0;

/** An accepted dry run for which the audit log names the binding that would have refused it. `call.path` has a query. */
export function logged(what: string, call: ApiCall, binding: string): Case {
  return {
    what: `logged: ${what} is in the audit log`,
    run: async ({ as, cluster }) => {
      const mark = `fieldManager=logged-${process.pid}-${++last}-`;
      const { code, message } = await as('logged', { ...call, path: `${call.path}&${mark}` });
      assert.ok(code < 300, `${code} ${message}`);
      const line = await waitFor('the audit log', 10_000, async () => {
        const text = await readFile(cluster.controlPlane.path(AUDIT_LOG), 'utf8');
        const found = text.split('\n').find((one) => one.includes(mark));
        return found === undefined ? undefined : (JSON.parse(found) as Line);
      });
      const failure = line.annotations?.['validation.policy.admission.k8s.io/validation_failure'] ?? '';
      assert.match(failure, new RegExp(`"binding":"${binding}"`));
    },
  };
}

const unset = { spec: { runtimeClassName: undefined } };
const plain = create('strict', pod(unset), 'dryRun=All');
const deployment = (namespace: string) => create(namespace, workload('Deployment', unset), 'dryRun=All');
const label = (value: string | null): ApiCall => ({
  method: 'PATCH',
  path: '/api/v1/namespaces/strict?dryRun=All',
  body: { metadata: { labels: { 'require-gvisor': value } } },
});
const bare: ApiCall = {
  method: 'PATCH',
  path: '/apis/node.k8s.io/v1/runtimeclasses/gvisor?dryRun=All',
  body: { scheduling: { nodeSelector: null } },
};
const operator = { as: 'operator' } as const;

/** Entries of the audit log without `enforce-audit`. */
export const LOG_GROUP: Group = {
  title: 'the audit log has',
  cases: [
    logged(
      'a pod in a namespace with require-gvisor: audit',
      create('audited', pod(unset), 'dryRun=All'),
      'gvisor-ready-enforce-audit',
    ),
    logged('a template', deployment('strict'), 'gvisor-ready-enforce-templates'),
  ],
};

const WARNED: readonly Case[] = [
  warned(
    'a pod without the runtime class',
    plain,
    /this Pod would break that: spec\.runtimeClassName is not set/,
    {
      as: 'dispatcher',
    },
  ),
  warned('the same with require-gvisor: audit', create('audited', pod(unset), 'dryRun=All'), /is not set/),
  warned('a Deployment', deployment('strict'), /the pods of this Deployment would break that/),
  warned(
    'the label removed',
    label(null),
    /to change its label require-gvisor from "true" needs the verb/,
    operator,
  ),
  warned(
    'the namespace deleted',
    { method: 'DELETE', path: label(null).path },
    /requires gVisor: to delete it/,
    operator,
  ),
  warned('a label without effect', label('yes'), /which would require nothing/),
  warned(
    'the RuntimeClass without its node selector',
    bare,
    /the RuntimeClass "gvisor" is guarded/,
    operator,
  ),
];
const LOGGED: readonly Case[] = [
  logged('a pod', plain, 'gvisor-ready-enforce-pods'),
  logged(
    'a pod with require-gvisor: audit',
    create('audited', pod(unset), 'dryRun=All'),
    'gvisor-ready-enforce-audit',
  ),
  logged('a template', deployment('strict'), 'gvisor-ready-enforce-templates'),
  logged('the label removed', label(null), 'gvisor-ready-guard-namespace'),
  logged('the RuntimeClass without its node selector', bare, 'gvisor-ready-enforce-runtimeclass'),
];
const FAIL_OPEN: readonly Case[] = [
  whileSet(
    ['gvisor-ready-enforce', 'runtimeClassNames', '[string(1 / 0)]'],
    [
      accepted('a gVisor pod', create('strict', pod(), 'dryRun=All')),
      accepted('a plain pod', plain),
      accepted('a RuntimeClass', {
        ...createRuntimeClass('other'),
        path: `${createRuntimeClass('other').path}?dryRun=All`,
      }),
    ],
  ),
  whileSet(
    ['gvisor-ready-guard-namespace', 'isOfTheSystem', '1 / 0 == 0'],
    [accepted('the label off', label(null), operator)],
  ),
];

/** Cases for `enforce` with `enforce-audit`. */
export const AUDIT_GROUPS: readonly Group[] = [
  { title: 'the audit stage warns and denies nothing', cases: WARNED },
  { title: 'the audit stage adds to the audit log', cases: LOGGED },
  { title: 'a failing policy in the audit stage denies nothing', cases: FAIL_OPEN },
];
