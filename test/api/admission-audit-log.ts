import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { AUDIT_LOG } from '../../cluster/control-plane/control-plane.ts';
import { waitFor } from '../../hack/run.ts';
import type { Case } from './admission-case.ts';
import type { Call } from './api-user.ts';

type Line = { readonly requestURI: string; readonly annotations?: Readonly<Record<string, string>> };
let last = 0;

/** A call in a dry run (its path has a query) that is accepted, and of which the audit log says which binding would have refused it. */
export function logged(what: string, call: Call, binding: string): Case {
  return {
    what: `logged: ${what} is in the audit log`,
    run: async ({ as, cluster }) => {
      const mark = `fieldManager=logged-${process.pid}-${++last}-`;
      const { code, message } = await as('logged', { ...call, path: `${call.path}&${mark}` });
      assert.ok(code < 300, `${code} ${message}`);
      const line = await waitFor('the audit log', 10_000, async () => {
        const text = await readFile(cluster.controlPlane.path(AUDIT_LOG), 'utf8');
        const found = text.split('\n').find((one) => one.includes(mark));
        return found === undefined ? undefined : (JSON.parse(found) as Line);
      });
      const failure = line.annotations?.['validation.policy.admission.k8s.io/validation_failure'] ?? '';
      assert.match(failure, new RegExp(`"binding":"${binding}"`));
    },
  };
}
