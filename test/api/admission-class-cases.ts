import { accepted, type Group, refused, withMessage } from './admission-case.ts';
import { createRuntimeClass, patch, remove } from './admission-objects.ts';

/** The message that denies a write of the RuntimeClass with this name. */
export const classMessage = (name: string) =>
  new RegExp(
    `the RuntimeClass "${name}" is guarded: to write it needs the verb manage-gvisor-requirement on all namespaces \\(ClusterRole gvisor-ready-requirement\\)$`,
  );
const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';
const patchClass = (body: object) => patch(`${CLASSES}/gvisor`, body);
/** Removes the node selector of the RuntimeClass. */
export const UNSCOPE = patchClass({ scheduling: { nodeSelector: null } });

/** The guarded RuntimeClass, and others. */
export const CLASS_GROUPS: readonly Group[] = [
  {
    title: 'the guarded RuntimeClass',
    cases: [
      ...refused(
        'operator',
        withMessage(classMessage('gvisor'), {
          'to remove its node selector': UNSCOPE,
          'to recreate it with runc': createRuntimeClass('gvisor', 'runc'),
          'to set another node selector': patchClass({ scheduling: { nodeSelector: { a: 'b' } } }),
          'to set tolerations': patchClass({ scheduling: { tolerations: [{ operator: 'Exists' }] } }),
          'to change its overhead': patchClass({ overhead: { podFixed: { memory: '1Mi' } } }),
        }),
      ),
      ...refused('single', {
        'to remove its node selector, with the right for one namespace,': [UNSCOPE, classMessage('gvisor')],
      }),
      ...refused(
        'admin',
        { 'to change its handler': [patchClass({ handler: 'runc' }), /handler: .*: field is immutable/] },
        422,
      ),
      ...refused(
        'lifter',
        {
          'to create it while it exists': [createRuntimeClass('gvisor'), /already exists/],
          'another handler, while the class exists,': [
            createRuntimeClass('gvisor', 'runsc-kvm'),
            /already exists/,
          ],
        },
        409,
      ),
      ...accepted('lifter', { 'to remove its node selector': UNSCOPE }),
      ...accepted('operator', {
        'to write another': patch(`${CLASSES}/plain`, { metadata: { labels: { a: 'b' } } }),
        'to create another': createRuntimeClass('other', 'runc'),
        'to create another with any node selector': createRuntimeClass('other', 'runsc-kvm', { a: 'b' }),
        'to label it': patchClass({ metadata: { labels: { team: 'x' } } }),
        'to write it unchanged': patchClass({ handler: 'runsc' }),
        'to delete it': remove(`${CLASSES}/gvisor`),
      }),
    ],
  },
];
