import { waitFor } from '../../hack/run.ts';
import type { ApiCall, ApiResponse } from './api-user.ts';

const PATH = '/apis/admissionregistration.k8s.io/v1';
let last = 0;

/** Calls an API server as an administrator. */
type Administered = { as(user: 'admin', call: ApiCall): Promise<ApiResponse> };

/**
 * Waits until all policies and bindings written so far are in force. The API server watches each kind in order and activates
 * changes once a second, so a policy and a binding written now take effect last.
 */
export async function waitForPolicies(
  admission: Administered,
  kinds: readonly Kind[] = ['validating'],
): Promise<void> {
  await Promise.all(kinds.map((kind) => waitForKind(admission, kind)));
}
export type Kind = 'validating' | 'mutating';

async function waitForKind({ as }: Administered, kind: Kind): Promise<void> {
  const name = `canary-${kind}-${process.pid}-${++last}`;
  const { policies, kinds, specs } = CANARIES[kind](name);
  const written: string[] = [];
  for (const [index, resource] of policies.entries()) {
    const body = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: kinds[index],
      metadata: { name },
      spec: specs[index],
    };
    const { code, message } = await as('admin', { method: 'POST', path: `${PATH}/${resource}`, body });
    if (code !== 201) throw new Error(`Cannot write the ${kinds[index]} "${name}": ${message}`);
    written.push(`${PATH}/${resource}/${name}`);
  }
  await waitFor(`the policies in force, as ${name} shows`, 30_000, async () => {
    const { code, body } = await as('admin', tried(name));
    const labels = (body as { readonly metadata?: { readonly labels?: object } }).metadata?.labels;
    return code === 422 || (code === 201 && labels !== undefined) ? true : undefined;
  });
  for (const path of written.reverse()) await as('admin', { method: 'DELETE', path });
}

const tried = (name: string): ApiCall => ({
  method: 'POST',
  path: '/api/v1/namespaces/default/configmaps?dryRun=All',
  body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } },
});

const matchConstraints = {
  resourceRules: [
    { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] },
  ],
};

/** Policies that affect only the ConfigMap of their own name. */
const CANARIES = {
  validating: (name: string) => ({
    policies: ['validatingadmissionpolicies', 'validatingadmissionpolicybindings'],
    kinds: ['ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding'],
    specs: [
      { matchConstraints, validations: [{ expression: `object.metadata.name != '${name}'` }] },
      { policyName: name, validationActions: ['Deny'] },
    ],
  }),
  mutating: (name: string) => ({
    policies: ['mutatingadmissionpolicies', 'mutatingadmissionpolicybindings'],
    kinds: ['MutatingAdmissionPolicy', 'MutatingAdmissionPolicyBinding'],
    specs: [
      {
        matchConstraints,
        reinvocationPolicy: 'Never',
        matchConditions: [{ name: 'own', expression: `object.metadata.name == '${name}'` }],
        mutations: [
          {
            patchType: 'ApplyConfiguration',
            applyConfiguration: {
              expression: "Object{metadata: Object.metadata{labels: {'canary': 'active'}}}",
            },
          },
        ],
      },
      { policyName: name },
    ],
  }),
} as const;
