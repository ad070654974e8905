import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { AUDIT_LOG } from '../../cluster/control-plane/control-plane.ts';
import { waitFor } from '../../hack/run.ts';
import { accepted, type Case, dryRun, type Group, warned } from './admission-case.ts';
import { UNSCOPE } from './admission-class-cases.ts';
import { label, removeNamespace } from './admission-namespace-cases.ts';
import { create, createPod, createRuntimeClass, PLAIN, pod, podOf, workload } from './admission-objects.ts';
import { whileSet } from './admission-setting-cases.ts';
import { bind, OLDER_POD, older } from './admission-write-cases.ts';
import type { ApiCall } from './api-user.ts';

type Line = { readonly requestURI: string; readonly annotations?: Readonly<Record<string, string>> };
let last = 0;

/** Accepted calls for which the audit log names the binding that would have refused them. */
export function logged(
  rows: Readonly<Record<string, readonly [call: ApiCall, binding: string]>>,
): readonly Case[] {
  return Object.entries(rows).map(([what, [call, binding]]) => ({
    what: `logged: ${what} is in the audit log`,
    run: async ({ as, cluster }) => {
      const mark = `fieldManager=logged-${process.pid}-${++last}-`;
      const { code, message } = await as('logged', dryRun({ ...call, path: `${call.path}?${mark}` }));
      assert.ok(code < 300, `${code} ${message}`);
      const line = await waitFor('the audit log', 10_000, async () => {
        const text = await readFile(cluster.controlPlane.path(AUDIT_LOG), 'utf8');
        const found = text.split('\n').find((one) => one.includes(mark));
        return found === undefined ? undefined : (JSON.parse(found) as Line);
      });
      const failure = line.annotations?.['validation.policy.admission.k8s.io/validation_failure'] ?? '';
      assert.match(failure, new RegExp(`"binding":"${binding}"`));
    },
  }));
}

const plain = createPod(PLAIN);
const ofOther = podOf('runc-ready');
const audited = create('audited', pod(PLAIN));
const deployment = create('strict', workload('Deployment', PLAIN));

/** Entries of the audit log without `enforce-audit`. */
export const LOG_GROUP: Group = {
  title: 'the audit log has',
  cases: logged({
    'a pod in a namespace with gvisor-ready.dev/require: audit': [audited, 'gvisor-ready-enforce-audit'],
    'a template': [deployment, 'gvisor-ready-enforce-templates'],
  }),
};

/** Cases for `enforce` and `enforce-bindings` with `enforce-audit`. */
export const AUDIT_GROUPS: readonly Group[] = [
  {
    title: 'the audit stage warns and denies nothing',
    cases: [
      ...warned('dispatcher', {
        'a pod without the runtime class': [
          plain,
          /this Pod would break that: spec\.runtimeClassName is not set/,
        ],
      }),
      ...warned('admin', {
        'the same with gvisor-ready.dev/require: audit': [audited, /is not set/],
        'a Deployment': [deployment, /the pods of this Deployment would break that/],
        'a label without effect': [label('strict', 'yes'), /which would require nothing/],
        'to bind an older pod': [bind(older), OLDER_POD],
      }),
      ...warned('operator', {
        'the label removed': [
          label('strict', null),
          /to change its label gvisor-ready.dev\/require from "true" needs the verb/,
        ],
        'the namespace deleted': [removeNamespace('strict'), /requires gVisor: to delete it/],
        'the RuntimeClass without its node selector': [UNSCOPE, /the RuntimeClass "gvisor" is guarded/],
      }),
      whileSet(
        ['gvisor-ready-enforce', 'runtimeClassNames', "['runc-ready']"],
        [
          ...warned('admin', {
            'a pod of a class that selects other nodes': [ofOther, /the handler "runc" of/],
          }),
          ...logged({ 'a pod of such a class': [ofOther, 'gvisor-ready-enforce-classes'] }),
        ],
      ),
    ],
  },
  {
    title: 'the audit stage adds to the audit log',
    cases: logged({
      'a pod': [plain, 'gvisor-ready-enforce-pods'],
      'a pod with gvisor-ready.dev/require: audit': [audited, 'gvisor-ready-enforce-audit'],
      'a template': [deployment, 'gvisor-ready-enforce-templates'],
      'the label removed': [label('strict', null), 'gvisor-ready-guard-namespace'],
      'the RuntimeClass without its node selector': [UNSCOPE, 'gvisor-ready-enforce-runtimeclass'],
      'a Binding of an older pod': [bind(older), 'gvisor-ready-enforce-bindings'],
    }),
  },
  {
    title: 'a failing policy in the audit stage denies nothing',
    cases: [
      whileSet(
        ['gvisor-ready-enforce', 'runtimeClassNames', '[string(1 / 0)]'],
        accepted('admin', {
          'a gVisor pod': createPod(),
          'a plain pod': plain,
          'a RuntimeClass': createRuntimeClass('other'),
        }),
      ),
      whileSet(
        ['gvisor-ready-guard-namespace', 'isOfTheSystem', '1 / 0 == 0'],
        accepted('operator', { 'the label off': label('strict', null) }),
      ),
      whileSet(
        ['gvisor-ready-enforce-classes', 'mainHandler', 'string(1 / 0)'],
        accepted('admin', { 'any pod': createPod() }),
      ),
      whileSet(
        ['gvisor-ready-enforce-bindings', 'runtimeClass', 'string(1 / 0)'],
        accepted('admin', { 'to bind any': bind() }),
      ),
    ],
  },
];
