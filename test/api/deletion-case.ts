import assert from 'node:assert/strict';
import { assertAccepted, type Group } from './admission-case.ts';
import { type Admission, waitForResponse } from './admission-cluster.ts';
import { create, patch, pod, remove } from './admission-objects.ts';

/** A deletion without a dry run, which the namespace controller finishes. */
export const DELETION_GROUP: Group = {
  title: 'a namespace that requires gVisor',
  cases: [
    { what: 'is deleted with its content without a second check of the right', run: deleteWithContent },
  ],
};

async function deleteWithContent({ as }: Admission): Promise<void> {
  const name = `ends-${Date.now()}`;
  const path = `/api/v1/namespaces/${name}`;
  const labels = { 'gvisor-ready.dev/require': 'true' };
  const body = { metadata: { name, labels } };
  assertAccepted(await as('operator', { method: 'POST', path: '/api/v1/namespaces', body }));
  const terminating = pod({ metadata: { name: 'terminating', finalizers: ['example.com/test'] } });
  const createTerminating = () => as('admin', create(name, terminating));
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
}
