import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Admission, UserName } from './admission-cluster.ts';
import type { ApiCall, ApiResponse } from './api-user.ts';

/** A test of the policies, run against mutants too. It restores the cluster, except for objects with unique names. */
export type Case = {
  readonly what: string;
  readonly run: (admission: Admission) => Promise<void>;
  /** Set if the case changes policies, so that no other case can run meanwhile. */
  readonly exclusive?: true;
};

export type Group = { readonly title: string; readonly cases: readonly Case[] };

/** A call, or a function that makes it. */
export type Made = ApiCall | ((admission: Admission) => ApiCall | Promise<ApiCall>);

/** The user (default: admin) and the code of a refusal (default: 403). */
type Options = { readonly as?: UserName; readonly code?: number | undefined };

/** A call that is denied with this message. */
export function refused(what: string, call: Made, why: RegExp, { as = 'admin', code = 403 }: Options = {}) {
  return caseOf(`${as}: ${what} is refused`, as, call, (response) => {
    assert.equal(response.code, code, response.message);
    assert.match(response.message, why);
  });
}

/** A call that is allowed without a warning. `body` checks the resulting object. */
export function accepted(
  what: string,
  call: Made,
  { as = 'admin' }: Options = {},
  body?: (made: unknown) => void,
) {
  return caseOf(`${as}: ${what} is accepted`, as, call, (response) => {
    assertAccepted(response);
    body?.(response.body);
  });
}

/** A call that is allowed with one warning. */
export function warned(what: string, call: Made, why: RegExp, { as = 'admin' }: Options = {}) {
  return caseOf(`${as}: ${what} is warned of`, as, call, ({ code, message, warnings }) => {
    assert.ok(code < 300, `${code} ${message}`);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0] ?? '', why);
  });
}

function caseOf(what: string, as: UserName, call: Made, check: (response: ApiResponse) => void): Case {
  return {
    what,
    run: async (admission) =>
      check(await admission.as(as, typeof call === 'function' ? await call(admission) : call)),
  };
}

export function describeGroups(admission: () => Admission, groups: readonly Group[]): void {
  for (const { title, cases } of groups) {
    describe(title, () => {
      for (const { what, run } of cases) it(what, () => run(admission()));
    });
  }
}

/** Asserts that a call was allowed without a warning. */
export function assertAccepted({ code, message, warnings }: ApiResponse): void {
  assert.ok(code < 300, `${code} ${message}`);
  assert.deepEqual(warnings, []);
}

/** Creates an object and returns its path. */
export async function createObject({ as }: Admission, call: ApiCall): Promise<string> {
  const { code, message, body } = await as('admin', call);
  assert.equal(code, 201, message);
  const { name } = (body as { readonly metadata: { readonly name: string } }).metadata;
  return `${call.path.replace(/\?.*/, '')}/${name}`;
}
