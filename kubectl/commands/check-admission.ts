import type {
  V1Pod,
  V1ValidatingAdmissionPolicy,
  V1ValidatingAdmissionPolicyBinding,
} from '@kubernetes/client-node';
import type { ApiObject } from '../api.ts';
import type { Context } from '../context.ts';
import { type CheckLine, inSection, nameList } from '../output.ts';
import { labelled, listRequirements, REQUIRE, type Requirements, RUNTIME_CLASS } from '../requirements.ts';

type Policy = ApiObject<V1ValidatingAdmissionPolicy>;
type Binding = ApiObject<V1ValidatingAdmissionPolicyBinding>;

/** What a policy does, and the words for it. */
const EFFECTS = {
  absent: 'is not installed',
  unbound: 'has no binding',
  warns: 'only warns',
  denies: 'denies',
} as const;
type EffectOf = (policy: string) => keyof typeof EFFECTS;

const GROUP = '/apis/admissionregistration.k8s.io/v1';
/** The policies of the base, and what is possible without each. */
const BASE: Readonly<Record<string, string>> = {
  'gvisor-ready-agent': 'an agent could write other nodes than its own',
  'gvisor-ready-agent-events': 'an agent could create events in the name of other nodes',
  'gvisor-ready-node-keys': 'every user who may patch a Node can label it as proven',
};
/** The policies of the component `enforce`. */
const ENFORCE = 'gvisor-ready-enforce';
const GUARD = 'gvisor-ready-guard-namespace';
/** The binding that denies pods. Other bindings of the policy warn, or match other objects. */
const PODS_BINDING = 'gvisor-ready-enforce-pods';

const DOCS = 'docs/admission.md#installing-it';
const line = inSection('Admission', {
  AgentPolicies: 'docs/security.md#what-a-stolen-token-of-one-node-can-do-and-cannot',
  Enforcement: DOCS,
  NamespaceGuard: 'docs/admission.md#who-may-lift-the-requirement',
  NamespaceLabel: DOCS,
  SystemNamespace: 'docs/admission.md',
  OlderPendingPods: DOCS,
});

/** Checks the admission policies and their bindings, and the labels of namespaces. */
export async function checkAdmission({ api }: Context): Promise<readonly CheckLine[]> {
  const [{ items: policies }, { items: bindings }, requirements] = await Promise.all([
    api.list<V1ValidatingAdmissionPolicy>(`${GROUP}/validatingadmissionpolicies`),
    api.list<V1ValidatingAdmissionPolicyBinding>(`${GROUP}/validatingadmissionpolicybindings`),
    listRequirements(api),
  ]);
  const effectOf: EffectOf = (name) => effectIn(name, policies, bindings);
  const classes = allowedClasses(policies.find(({ metadata }) => isNamed(metadata, ENFORCE)));
  return [
    ...aboutBase(effectOf),
    ...aboutEnforcement(effectOf, requirements),
    ...aboutLabels(requirements, api.installedIn),
    ...(await aboutPendingPods(api, requirements, classes)),
  ];
}

/** Whether an object has a name, possibly with the prefix of a kustomization. */
function isNamed({ name }: Policy['metadata'], wanted: string): boolean {
  return name === wanted || name.endsWith(`-${wanted}`);
}

function effectIn(
  name: string,
  policies: readonly Policy[],
  bindings: readonly Binding[],
): ReturnType<EffectOf> {
  const policy = policies.find(({ metadata }) => isNamed(metadata, name));
  if (policy === undefined) return 'absent';
  const bound = bindings.filter(
    ({ metadata, spec }) =>
      spec?.policyName === policy.metadata.name && (name !== ENFORCE || isNamed(metadata, PODS_BINDING)),
  );
  if (bound.length === 0) return 'unbound';
  const denies = bound.some(({ spec }) => spec?.validationActions?.includes('Deny'));
  return denies && policy.spec?.failurePolicy !== 'Ignore' ? 'denies' : 'warns';
}

function aboutBase(effectOf: EffectOf): CheckLine[] {
  const weak = Object.entries(BASE).filter(([name]) => effectOf(name) !== 'denies');
  if (weak.length === 0)
    return [line('AgentPolicies', 'pass', 'Agents can write only their own Node: the policies are in force')];
  return weak.map(([policy, danger]) => {
    const effect = effectOf(policy);
    const text = `The policy ${policy} ${EFFECTS[effect]}: ${danger}`;
    return line('AgentPolicies', 'fail', text, { policy, effect });
  });
}

function aboutEnforcement(effectOf: EffectOf, requirements: Requirements): CheckLine[] {
  const effect = effectOf(ENFORCE);
  const namespaces = labelled(requirements, 'true');
  const data = { policy: ENFORCE, effect, namespaces };
  const what = `The policy ${ENFORCE} ${EFFECTS[effect]}`;
  if (effect === 'absent' && requirements.size === 0)
    return [
      line(
        'Enforcement',
        'pass',
        'No namespace requires gVisor, and the component enforce is not installed',
        data,
      ),
    ];
  if (effect !== 'denies')
    return namespaces.length === 0
      ? [line('Enforcement', 'warning', `${what}: pods outside gVisor are not denied`, data)]
      : [
          line(
            'Enforcement',
            'fail',
            `${what}, so pods in ${nameList(namespaces)} can run outside gVisor`,
            data,
          ),
        ];
  const guard = effectOf(GUARD);
  const text =
    guard === 'denies'
      ? 'Lifting the requirement from a namespace takes a permission of its own'
      : `The policy ${GUARD} ${EFFECTS[guard]}: every user who may label a namespace can lift the requirement`;
  return [
    line('Enforcement', 'pass', 'Pods outside gVisor are denied where it is required', data),
    line('NamespaceGuard', guard === 'denies' ? 'pass' : 'fail', text, { policy: GUARD, effect: guard }),
  ];
}

function aboutLabels(requirements: Requirements, installedIn: string): CheckLine[] {
  return [...requirements].flatMap(([namespace, value]) => {
    const data = { namespace, value };
    if (!['true', 'audit', 'false'].includes(value)) {
      const text = `The namespace ${namespace} has ${REQUIRE}: "${value}", which has no effect: write "true", "audit" or "false"`;
      return [line('NamespaceLabel', 'fail', text, data)];
    }
    if (value === 'false' || !['kube-system', installedIn].includes(namespace)) return [];
    const text = `The namespace ${namespace} is labelled ${REQUIRE}, and its pods need the host`;
    return [line('SystemNamespace', 'fail', text, data)];
  });
}

/** The runtime classes that the policy allows. */
function allowedClasses(policy: Policy | undefined): readonly string[] {
  const setting = policy?.spec?.variables?.find(({ name }) => name === 'runtimeClassNames');
  const names = [...(setting?.expression ?? '').matchAll(/['"]([^'"]+)['"]/g)].map(([, name = '']) => name);
  return names.length > 0 ? names : [RUNTIME_CLASS];
}

/** Finds pending pods created before their namespace was labelled: no policy sees a pod start. */
async function aboutPendingPods(
  api: Context['api'],
  requirements: Requirements,
  classes: readonly string[],
): Promise<CheckLine[]> {
  const lists = await Promise.all(
    labelled(requirements, 'true').map((name) =>
      api.list<V1Pod>(`/api/v1/namespaces/${name}/pods`, { fieldSelector: 'status.phase=Pending' }),
    ),
  );
  const pending = lists
    .flatMap(({ items }) => items)
    .filter(({ spec }) => !classes.includes(spec?.runtimeClassName ?? ''))
    .filter(({ status }) => status?.phase === 'Pending')
    .map(({ metadata: { namespace, name, uid }, spec }) => ({
      namespace,
      name,
      uid,
      node: spec?.nodeName ?? null,
    }));
  if (pending.length === 0) return [];
  const names = pending.map(
    ({ namespace, name, node }) =>
      `${namespace}/${name} (waits ${node === null ? 'for a node' : `on ${node}`})`,
  );
  const text = `Older than the requirement, and would start outside gVisor: ${nameList(names)}. Delete ${pending.length === 1 ? 'it' : 'them'}`;
  return [line('OlderPendingPods', 'fail', text, { pods: pending })];
}
