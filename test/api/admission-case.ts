import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { AUDIT_LOG } from '../../cluster/control-plane/control-plane.ts';
import { waitFor } from '../../hack/run.ts';
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

/** The API server's, to a request. */
export type Answer = {
  /** accepted without a warning */
  readonly accepted?: true;
  /** accepted, and the stored object has these fields in its spec, or lacks those that are null */
  readonly stored?: Readonly<Record<string, unknown>>;
  /** denied with a message that matches */
  readonly refused?: string;
  /** the codes of a denial (default: 403) */
  readonly code?: number | readonly number[];
  /** accepted with one warning, which matches */
  readonly warned?: string;
  /** accepted, and the audit log names the binding that would have refused it */
  readonly logged?: string;
};

/** Sends a request as a dry run, and asserts the answer. */
export async function assertAnswer(
  admission: Admission,
  as: UserName,
  call: ApiCall,
  { stored = {}, refused, code = 403, warned, logged }: Answer,
): Promise<void> {
  if (logged !== undefined) return assertLogged(admission, as, call, logged);
  const response = await admission.as(as, dryRun(call));
  if (refused !== undefined) {
    assert.ok([code].flat().includes(response.code), `${response.code} ${response.message}`);
    assert.match(response.message, new RegExp(refused));
    return;
  }
  if (warned === undefined) return assertStored(response, stored);
  assert.ok(response.code < 300, `${response.code} ${response.message}`);
  assert.equal(response.warnings.length, 1, response.warnings.join('\n'));
  assert.match(response.warnings[0] ?? '', new RegExp(warned));
}

function assertStored(response: ApiResponse, stored: Readonly<Record<string, unknown>>): void {
  assertAccepted(response);
  const { spec } = response.body as { readonly spec?: Readonly<Record<string, unknown>> };
  for (const [field, value] of Object.entries(stored)) assert.deepEqual(spec?.[field] ?? null, value);
}

type Line = { readonly requestURI: string; readonly annotations?: Readonly<Record<string, string>> };
let last = 0;

async function assertLogged(
  { as, cluster }: Admission,
  user: UserName,
  call: ApiCall,
  binding: string,
): Promise<void> {
  const mark = `fieldManager=logged-${process.pid}-${++last}-`;
  const { code, message } = await as(user, dryRun({ ...call, path: `${call.path}?${mark}` }));
  assert.ok(code < 300, `${code} ${message}`);
  const line = await waitFor('the audit log', 10_000, async () => {
    const text = await readFile(cluster.controlPlane.path(AUDIT_LOG), 'utf8');
    const found = text.split('\n').find((one) => one.includes(mark));
    return found === undefined ? undefined : (JSON.parse(found) as Line);
  });
  const failure = line.annotations?.['validation.policy.admission.k8s.io/validation_failure'] ?? '';
  assert.match(failure, new RegExp(`"binding":"${binding}"`));
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

/** Asserts that a call was allowed without a warning. */
export function assertAccepted({ code, message, warnings }: ApiResponse): void {
  assert.ok(code < 300, `${code} ${message}`);
  assert.deepEqual(warnings, []);
}
