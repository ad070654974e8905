import { logged } from './admission-audit-log.ts';
import { accepted, type Case, type Group, warned } from './admission-case.ts';
import { create, createRuntimeClass, pod, workload } from './admission-objects.ts';
import { whileSet } from './admission-setting-cases.ts';
import type { Call } from './api-user.ts';

const unset = { spec: { runtimeClassName: undefined } };
const plain = create('strict', pod(unset), 'dryRun=All');
const deployment = (namespace: string) => create(namespace, workload('Deployment', unset), 'dryRun=All');
const label = (value: string | null): Call => ({
  method: 'PATCH',
  path: '/api/v1/namespaces/strict?dryRun=All',
  body: { metadata: { labels: { 'require-gvisor': value } } },
});
const bare: Call = {
  method: 'PATCH',
  path: '/apis/node.k8s.io/v1/runtimeclasses/gvisor?dryRun=All',
  body: { scheduling: { nodeSelector: null } },
};
const operator = { as: 'operator' } as const;

/** What the audit log has where the component `enforce` alone is installed. */
export const LOG_GROUP: Group = {
  title: 'the audit log has',
  cases: [
    logged(
      'a pod where only audit is asked',
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
  warned('the same where the label says audit', create('audited', pod(unset), 'dryRun=All'), /is not set/),
  warned('a Deployment', deployment('strict'), /the pods of this Deployment would break that/),
  warned(
    'the label taken off',
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
  warned('a label that would require nothing', label('yes'), /which would require nothing/),
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
    'a pod where the label says audit',
    create('audited', pod(unset), 'dryRun=All'),
    'gvisor-ready-enforce-audit',
  ),
  logged('a template', deployment('strict'), 'gvisor-ready-enforce-templates'),
  logged('the label taken off', label(null), 'gvisor-ready-guard-namespace'),
  logged('the RuntimeClass without its node selector', bare, 'gvisor-ready-enforce-runtimeclass'),
];
const FAILING: readonly Case[] = [
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

/** What is tried with the component `enforce-audit` beside `enforce`. */
export const AUDIT_GROUPS: readonly Group[] = [
  { title: 'the audit stage refuses nothing, and warns', cases: WARNED },
  { title: 'the audit stage writes into the audit log', cases: LOGGED },
  { title: 'a policy that fails in the audit stage opens the door', cases: FAILING },
];
