import assert from 'node:assert/strict';
import { assertAccepted, type Case } from './admission-case.ts';
import { strategicPatch } from './admission-objects.ts';
import { waitForPolicies } from './wait-for-policies.ts';

/** Another expression of a variable of a policy. */
export type Setting = { readonly policy: string; readonly variable: string; readonly is: string };
type Policy = { readonly spec: { readonly variables: readonly { name: string; expression: string }[] } };

/** Runs cases while a variable of a policy has another expression. */
export function whileSet({ policy, variable, is }: Setting, cases: readonly Case[]): Case {
  const path = `/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/${policy}`;
  return {
    what: `with ${variable}: ${is}`,
    exclusive: true,
    run: async (admission) => {
      const { body } = await admission.as('admin', { method: 'GET', path });
      const was = (body as Policy).spec.variables.find(({ name }) => name === variable)?.expression;
      assert.ok(was !== undefined, `"${policy}" has no variable "${variable}"`);
      const set = async (expression: string) => {
        const variables = [{ name: variable, expression }];
        assertAccepted(await admission.as('admin', strategicPatch(path, { spec: { variables } })));
        await waitForPolicies(admission);
      };
      try {
        await set(is);
        for (const { what, run } of cases)
          await run(admission).catch((cause: Error) => assert.fail(`${what}: ${cause.message}`));
      } finally {
        await set(was);
      }
    },
  };
}
