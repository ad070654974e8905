import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type Admission, type UserName, until } from './admission-cluster.ts';
import { container, createPod } from './admission-objects.ts';
import type { Answer, Call } from './api-user.ts';

/** A row: what is tried, the call or how to come to it, why it is refused (accepted without), who calls (admin unless told). */
export type Case = readonly [
  what: string,
  call: Call | (() => Promise<Call>),
  why?: RegExp | undefined,
  as?: UserName,
];

/**
 * Runs rows as tests: with a reason the call is refused with `code` (403 unless told) and the message says it,
 * without one it is accepted in silence.
 */
export function table(admission: () => Admission, cases: readonly Case[], code = 403): void {
  for (const [what, call, why, user = 'admin'] of cases) {
    it(`${what}: ${why === undefined ? 'accepted' : 'refused'}`, async () => {
      const answer = await admission().as(user, typeof call === 'function' ? await call() : call);
      if (why === undefined) assertAccepted(answer);
      else {
        assert.equal(answer.code, code, answer.message);
        assert.match(answer.message, why);
      }
    });
  }
}

/** A row whose caller is part of its name. */
export const by = (as: UserName, what: string, call: Case[1], why?: RegExp): Case => [
  `${as} ${what}`,
  call,
  why,
  as,
];

/** Asserts that a call was accepted, and that nothing was said about it. */
export function assertAccepted({ code, message, warnings }: Answer): void {
  assert.ok(code < 300, `${code} ${message}`);
  assert.deepEqual(warnings, []);
}

/** Waits until pods are refused that name no runtime class. */
export function podsAreRefused({ as }: Admission): Promise<Answer> {
  const plain = createPod({ spec: { runtimeClassName: undefined } });
  return until(
    'pods to be refused',
    () => as('admin', plain),
    ({ code }) => code === 403,
  );
}

/** Waits until calls of a user without the right to lift the requirement are refused for want of it. */
export async function guardsAreUp({ as }: Admission, calls: readonly Call[]): Promise<void> {
  for (const call of calls) {
    await until(
      'a guard',
      () => as('operator', call),
      ({ message }) => /manage-gvisor-requirement/.test(message),
    );
  }
}

/** Creates an object and gives the path of what was made. */
export async function existing({ as }: Admission, call: Call): Promise<string> {
  const { code, message, body } = await as('admin', call);
  assert.equal(code, 201, message);
  const { name } = (body as { readonly metadata: { readonly name: string } }).metadata;
  return `${call.path.replace(/\?.*/, '')}/${name}`;
}

/** A mirror pod as a kubelet writes it for a static pod. */
export async function mirrorPod({ as }: Admission): Promise<object> {
  const { body } = await as('admin', { method: 'GET', path: '/api/v1/nodes/node-9' });
  const { uid } = (body as { readonly metadata: { readonly uid: string } }).metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'static-node-9',
      annotations: { 'kubernetes.io/config.mirror': 'x' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-9', uid, controller: true }],
    },
    spec: { nodeName: 'node-9', ...container() },
  };
}

/** Sets the parameters and waits until the API server goes by them, as the answer to `call` shows. */
export async function setParameters(
  { as }: Admission,
  data: object,
  call: Call,
  wanted: RegExp,
): Promise<void> {
  const written = await as('admin', { method: 'PATCH', path: PARAMETERS, body: { data } });
  assert.equal(written.code, 200, written.message);
  await until(
    'the parameters to be in force',
    () => as('admin', call),
    ({ code, message }) => wanted.test(`${code} ${message}`),
  );
}

/** The path of the policies' parameters. */
export const PARAMETERS = '/api/v1/namespaces/gvisor-ready/configmaps/gvisor-ready-enforce';
