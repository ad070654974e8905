import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Admission, UserName } from './admission-cluster.ts';
import type { Answer, Call } from './api-user.ts';

/**
 * Something that is tried on a cluster with the policies: a test, and what a mutant of the policies must fail. It leaves
 * the cluster as it found it, but for objects with names of their own.
 */
export type Case = {
  readonly what: string;
  readonly run: (admission: Admission) => Promise<void>;
  /** Whether it changes policies for a while, so that nothing else can run. */
  readonly alone?: true;
};

/** Cases under a title. */
export type Group = { readonly title: string; readonly cases: readonly Case[] };

/** A call, or how to come to it. */
export type Made = Call | ((admission: Admission) => Call | Promise<Call>);

/** Who calls (admin unless told), and the code of a refusal (403 unless told). */
type Options = { readonly as?: UserName; readonly code?: number | undefined };

/** A call that is refused, with a message that says why. */
export function refused(what: string, call: Made, why: RegExp, { as = 'admin', code = 403 }: Options = {}) {
  return tried(`${as}: ${what} is refused`, as, call, (answer) => {
    assert.equal(answer.code, code, answer.message);
    assert.match(answer.message, why);
  });
}

/** A call that is accepted without a word; `body` looks at what it made. */
export function accepted(
  what: string,
  call: Made,
  { as = 'admin' }: Options = {},
  body?: (made: unknown) => void,
) {
  return tried(`${as}: ${what} is accepted`, as, call, (answer) => {
    assertAccepted(answer);
    body?.(answer.body);
  });
}

/** A call that is accepted with one warning, which says why. */
export function warned(what: string, call: Made, why: RegExp, { as = 'admin' }: Options = {}) {
  return tried(`${as}: ${what} is warned of`, as, call, ({ code, message, warnings }) => {
    assert.ok(code < 300, `${code} ${message}`);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0] ?? '', why);
  });
}

function tried(what: string, as: UserName, call: Made, check: (answer: Answer) => void): Case {
  return {
    what,
    run: async (admission) =>
      check(await admission.as(as, typeof call === 'function' ? await call(admission) : call)),
  };
}

/** Runs groups as tests. */
export function describeGroups(admission: () => Admission, groups: readonly Group[]): void {
  for (const { title, cases } of groups) {
    describe(title, () => {
      for (const { what, run } of cases) it(what, () => run(admission()));
    });
  }
}

/** Asserts that a call was accepted, and that nothing was said about it. */
export function assertAccepted({ code, message, warnings }: Answer): void {
  assert.ok(code < 300, `${code} ${message}`);
  assert.deepEqual(warnings, []);
}

/** Creates an object and gives the path of what was made. */
export async function existing({ as }: Admission, call: Call): Promise<string> {
  const { code, message, body } = await as('admin', call);
  assert.equal(code, 201, message);
  const { name } = (body as { readonly metadata: { readonly name: string } }).metadata;
  return `${call.path.replace(/\?.*/, '')}/${name}`;
}
