import { accepted, type Case, type Group, refused } from './admission-case.ts';
import { createRuntimeClass } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';

/** The message that denies a write of the RuntimeClass with this name. */
export const classMessage = (name: string) =>
  new RegExp(
    `the RuntimeClass "${name}" is guarded: to write it needs the verb manage-gvisor-requirement on all namespaces \\(ClusterRole gvisor-ready-requirement\\)$`,
  );
const CLASS = '/apis/node.k8s.io/v1/runtimeclasses/gvisor';
const patchClass = (body: object, path = CLASS): ApiCall => ({
  method: 'PATCH',
  path: `${path}?dryRun=All`,
  body,
});
const bare = patchClass({ scheduling: { nodeSelector: null } });
/** Creates a RuntimeClass in a dry run. */
export const anew = (name: string, handler: string): ApiCall => {
  const call = createRuntimeClass(name, handler);
  return { ...call, path: `${call.path}?dryRun=All` };
};
const operator = { as: 'operator' } as const;
const lifter = { as: 'lifter' } as const;

const CLASSES: readonly Case[] = [
  refused('to remove its node selector', bare, classMessage('gvisor'), operator),
  refused('to remove its node selector, with the right for one namespace,', bare, classMessage('gvisor'), {
    as: 'single',
  }),
  refused('to recreate it with runc', anew('gvisor', 'runc'), classMessage('gvisor'), operator),
  refused(
    'to change its handler',
    patchClass({ handler: 'runc' }),
    /handler: Invalid value: ("runc"|null): field is immutable/,
    { code: 422 },
  ),
  accepted(
    'to write another',
    patchClass({ metadata: { labels: { a: 'b' } } }, '/apis/node.k8s.io/v1/runtimeclasses/plain'),
    operator,
  ),
  accepted('to create another', anew('other', 'runc'), operator),
  refused(
    'to set another node selector',
    patchClass({ scheduling: { nodeSelector: { a: 'b' } } }),
    classMessage('gvisor'),
    operator,
  ),
  refused(
    'to set tolerations',
    patchClass({ scheduling: { tolerations: [{ operator: 'Exists' }] } }),
    classMessage('gvisor'),
    operator,
  ),
  refused(
    'to change its overhead',
    patchClass({ overhead: { podFixed: { memory: '1Mi' } } }),
    classMessage('gvisor'),
    operator,
  ),
  accepted('to remove its node selector', bare, lifter),
  accepted('to label it', patchClass({ metadata: { labels: { team: 'x' } } }), operator),
  accepted('to write it unchanged', patchClass({ handler: 'runsc' }), operator),
  refused('to create it while it exists', anew('gvisor', 'runsc'), /already exists/, {
    ...lifter,
    code: 409,
  }),
  accepted('to delete it', { method: 'DELETE', path: `${CLASS}?dryRun=All` }, operator),
];

/** The guarded RuntimeClass, and others. */
export const CLASS_GROUPS: readonly Group[] = [{ title: 'the guarded RuntimeClass', cases: CLASSES }];
