import assert from 'node:assert/strict';
import { askedBy, FEATURES } from '../../lib/pod/features.ts';
import { accepted, dryRun, type Group, warned } from './admission-case.ts';
import type { Admission } from './admission-cluster.ts';
import { container, create, createPod, pod, workload } from './admission-objects.ts';

const volumes = (hostPath: object) => ({ volumes: [{ name: 'v', hostPath }] });
const mounts = (mount: object, more: object = {}) => ({
  volumes: [{ name: 'v', emptyDir: {} }],
  ...container({ volumeMounts: [{ name: 'v', mountPath: '/v', ...mount }], ...more }),
});
const capable = (...add: readonly string[]) => ({ securityContext: { capabilities: { add } } });

/** Parts of a pod for each row of the table of which the policy warns. */
const SPECS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  userNamespace: { hostUsers: false },
  recursiveReadOnly: mounts({ readOnly: true, recursiveReadOnly: 'Enabled' }),
  bidirectional: mounts({ mountPropagation: 'Bidirectional' }, { securityContext: { privileged: true } }),
  hostSocket: volumes({ path: '/run/x', type: 'Socket' }),
  rawSocket: container(capable('CAP_NET_RAW')),
  iptables: container(capable('NET_ADMIN')),
};
/** Nearly the same, and not in the table. */
const HARMLESS = {
  ...mounts({ readOnly: true, recursiveReadOnly: 'IfPossible', mountPropagation: 'None' }, capable('CHOWN')),
  hostUsers: true,
};
/** No manifest tells of these. */
const UNTOLD = ['ioUring', 'portForward'];
const WARNED = Object.entries(FEATURES).filter(
  ([id, { effect }]) => /refused|hangs/.test(effect) && !UNTOLD.includes(id),
);

export const COMPATIBILITY_GROUP: Group = {
  title: 'what gVisor refuses, and what hangs in it',
  cases: [
    // If pods are refused, nothing warns of those.
    ...WARNED.map(([id, { field }]) => ({
      what: `a pod with ${field} is warned of`,
      run: async ({ as }: Admission) => {
        const spec = SPECS[id] ?? assert.fail(`no pod for the row ${id}`);
        assert.ok(
          askedBy(spec).some((row) => row.id === id),
          'the table sees it in a manifest',
        );
        const { warnings } = await as('admin', dryRun(create('audited', pod({ spec }))));
        assert.ok(
          warnings.some((warning) => warning.includes(`hangs in gVisor: ${field}; kubectl`)),
          warnings.join('\n'),
        );
      },
    })),
    ...warned('admin', {
      'a CronJob': [
        create('strict', workload('CronJob', { spec: container(capable('ALL')) })),
        /the capability NET_RAW, the capability NET_ADMIN; /,
      ],
    }),
    ...accepted('admin', { 'a pod that asks for nothing of it': createPod({ spec: HARMLESS }) }),
  ],
};
