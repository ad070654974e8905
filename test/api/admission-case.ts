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

/** A call, or a function that makes it. Calls of cases are dry runs. */
type Made = ApiCall | ((admission: Admission) => ApiCall | Promise<ApiCall>);

/** Calls by what they write. */
type Calls = Readonly<Record<string, Made>>;
/** Calls by what they write, each with the message of the API server. */
type Rows = Readonly<Record<string, readonly [call: Made, message: RegExp]>>;

/** Rows with one message. */
export const withMessage = (message: RegExp, calls: Calls): Rows =>
  Object.fromEntries(Object.entries(calls).map(([what, call]) => [what, [call, message]]));

/** Calls of a user that are denied with a message and this code. */
export const refused = (as: UserName, rows: Rows, code = 403): readonly Case[] =>
  Object.entries(rows).map(([what, [call, message]]) =>
    caseOf(`${as}: ${what} is refused`, as, call, (response) => {
      assert.equal(response.code, code, response.message);
      assert.match(response.message, message);
    }),
  );

/** Calls of a user that are allowed without a warning. `check` asserts something of the resulting object. */
export const accepted = (as: UserName, calls: Calls, check?: (made: unknown) => void): readonly Case[] =>
  Object.entries(calls).map(([what, call]) =>
    caseOf(`${as}: ${what} is accepted`, as, call, (response) => {
      assertAccepted(response);
      check?.(response.body);
    }),
  );

/** Calls of a user that are allowed with one warning. */
export const warned = (as: UserName, rows: Rows): readonly Case[] =>
  Object.entries(rows).map(([what, [call, warning]]) =>
    caseOf(`${as}: ${what} is warned of`, as, call, ({ code, message, warnings }) => {
      assert.ok(code < 300, `${code} ${message}`);
      assert.equal(warnings.length, 1, warnings.join('\n'));
      assert.match(warnings[0] ?? '', warning);
    }),
  );

function caseOf(what: string, as: UserName, call: Made, check: (response: ApiResponse) => void): Case {
  return {
    what,
    run: async (admission) =>
      check(await admission.as(as, dryRun(typeof call === 'function' ? await call(admission) : call))),
  };
}

/** The same call without effect. */
export const dryRun = (call: ApiCall): ApiCall => ({
  ...call,
  path: `${call.path}${call.path.includes('?') ? '&' : '?'}dryRun=All`,
});

export function describeGroups(admission: () => Admission, groups: readonly Group[]): void {
  for (const { title, cases } of groups) {
    describe(title, () => {
      for (const { what, run } of cases) it(what, () => run(admission()));
    });
  }
}

/** Runs cases one after another. The message of a failure names the case. */
export async function runCases(admission: Admission, cases: readonly Case[]): Promise<void> {
  for (const { what, run } of cases)
    await run(admission).catch((cause: Error) => assert.fail(`${what}: ${cause.message}`));
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
  return `${call.path}/${(body as { readonly metadata: { readonly name: string } }).metadata.name}`;
}
