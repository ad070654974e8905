import { DOMAIN } from '../e2e/agents.ts';
import { logged } from './admission-audit-cases.ts';
import { accepted, type Group, refused, warned, withMessage } from './admission-case.ts';
import { OLDER_CLASSES } from './admission-fixture.ts';
import { podOf } from './admission-objects.ts';
import { MIRROR_OF_CLASS } from './admission-pod-cases.ts';
import { whileSet } from './admission-setting-cases.ts';

const podsOf = (...names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [`a pod of the class ${name}`, podOf(name)]));
/** The message that denies a pod of a class that does not select the label of its handler. */
const unproven = (handler: string, label: string) =>
  new RegExp(
    `the namespace "[\\w-]+" requires gVisor, and the handler "${handler}" of the RuntimeClass ".+" is proven only on nodes with the label ${DOMAIN}/${label}: the nodeSelector of the class must have it with the value "true", or the pod must name another class$`,
  );
const READY = { [`${DOMAIN}/ready`]: 'true' };
const names = ['gvisor', 'gvisor-unscoped', ...Object.keys(OLDER_CLASSES)].map((name) => `'${name}'`);

/** Classes that are older than their place among `runtimeClassNames`. */
export const POD_CLASS_GROUP: Group = {
  title: 'the class of a new pod',
  cases: [
    whileSet(
      ['gvisor-ready-enforce', 'runtimeClassNames', `[${names.join(', ')}]`],
      [
        ...refused('dispatcher', {
          ...withMessage(
            unproven('runsc', 'ready'),
            podsOf('gvisor-unscoped', 'gvisor-pool', 'gvisor-broken'),
          ),
          ...withMessage(unproven('runc', 'ready-runc'), podsOf('runc-ready', 'runc-pool')),
        }),
        ...warned('admin', {
          'a pod of the class runc-ready with gvisor-ready.dev/require: audit': [
            podOf('runc-ready', 'audited'),
            unproven('runc', 'ready-runc'),
          ],
        }),
        ...logged({
          'a pod of the class runc-ready': [
            podOf('runc-ready', 'audited'),
            'gvisor-ready-enforce-classes-audit',
          ],
        }),
        ...accepted('kubelet', { 'the mirror of a static pod of the class runc-ready': MIRROR_OF_CLASS }),
        ...accepted('admin', {
          ...podsOf('gvisor', 'gvisor-gpu', 'gvisor-kvm'),
          'a pod that selects the label itself': podOf('gvisor-unscoped', 'strict', READY),
          ...Object.fromEntries(
            ['free', 'declined', 'kube-labelled', 'gvisor-ready'].map((namespace) => [
              `a pod of the class runc-ready in ${namespace}`,
              podOf('runc-ready', namespace),
            ]),
          ),
        }),
        ...refused(
          'admin',
          withMessage(unproven('runc', 'ready-runc'), {
            'a pod of the class runc-ready in no-kube-system': podOf('runc-ready', 'no-kube-system'),
            'a pod of the class runc-ready in gvisor-ready-too': podOf('runc-ready', 'gvisor-ready-too'),
          }),
        ),
        whileSet(
          ['gvisor-ready-enforce-classes', 'mainHandler', "'runsc-kvm'"],
          [
            ...refused('admin', withMessage(unproven('runsc', 'ready-runsc'), podsOf('gvisor'))),
            ...refused('admin', withMessage(unproven('runsc-kvm', 'ready'), podsOf('gvisor-kvm'))),
          ],
        ),
        whileSet(
          ['gvisor-ready-enforce-classes', 'poolLabels', "['example.org/other', 'example.org/pool']"],
          [
            ...accepted('admin', podsOf('gvisor-pool', 'gvisor')),
            ...refused('admin', withMessage(unproven('runc', 'ready-runc'), podsOf('runc-pool'))),
            ...refused('admin', withMessage(unproven('runsc', 'ready'), podsOf('gvisor-unscoped'))),
          ],
        ),
        whileSet(
          ['gvisor-ready-enforce-classes', 'mainHandler', 'string(1 / 0)'],
          refused('admin', { 'any pod': [podOf('gvisor'), /division by zero/] }, 422),
        ),
      ],
    ),
  ],
};
