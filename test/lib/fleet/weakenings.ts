import type { AdmissionSpec } from '../../../lib/fleet/guard-shape.ts';
import type { Manifest } from './manifest-guards.ts';

type Change = (objects: readonly Manifest[]) => readonly Manifest[];
type Spec = AdmissionSpec & Readonly<Record<string, unknown>>;

const ENFORCE = 'gvisor-ready-enforce';
const PODS = 'gvisor-ready-enforce-pods';
const CLASSES = 'gvisor-ready-enforce-classes';
const KEYS = 'gvisor-ready-node-keys';
const AGENT = 'gvisor-ready-agent';

const isNamed = (kind: string, name: string) => (each: Manifest) =>
  each.kind.endsWith(kind) && each.metadata.name === name;

const edited =
  (kind: string, name: string, edit: (spec: Spec) => object): Change =>
  (objects) =>
    objects.map((each) =>
      isNamed(kind, name)(each)
        ? { ...each, spec: { ...each.spec, ...edit((each.spec ?? {}) as Spec) } }
        : each,
    );
const policy = (name: string, edit: (spec: Spec) => object) => edited('Policy', name, edit);
const binding = (name: string, edit: (spec: Spec) => object) => edited('Binding', name, edit);
const without =
  (kind: string, name: string): Change =>
  (objects) =>
    objects.filter((each) => !isNamed(kind, name)(each));
const copied =
  (kind: string, name: string, edit: (object: Manifest) => Manifest): Change =>
  (objects) => [...objects, ...objects.filter(isNamed(kind, name)).map(edit)];
const both =
  (one: Change, other: Change): Change =>
  (objects) =>
    other(one(objects));
/** A policy whose variable has another expression. */
export const setting = (name: string, variable: string, expression: string): Change =>
  policy(name, ({ variables = [] }) => ({
    variables: variables.map((each) => (each.name === variable ? { ...each, expression } : each)),
  }));
const matching = (part: object) => (spec: Spec) => ({
  matchResources: { ...(spec.matchResources as object), ...part },
});
const constrained = (part: object) => (spec: Spec) => ({
  matchConstraints: { ...(spec.matchConstraints as object), ...part },
});
const TEAM = { matchLabels: { team: 'a' } };
const NOT_IN_A = { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['a'] }] };
const conditionsAnd = (name: string, expression: string) =>
  policy(name, ({ matchConditions = [] }) => ({
    matchConditions: [...matchConditions, { name: 'except', expression }],
  }));
const PODS_RULE = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] };

/** Ways to weaken a guard where a namespace requires gVisor, each with the guard that must be named. */
export const WEAKENINGS: readonly (readonly [what: string, guard: string, change: Change])[] = [
  ['a policy is deleted', AGENT, without('Policy', AGENT)],
  ['a binding is deleted', ENFORCE, without('Binding', PODS)],
  ['a binding warns', ENFORCE, binding(PODS, () => ({ validationActions: ['Warn'] }))],
  ['a binding audits', KEYS, binding(KEYS, () => ({ validationActions: ['Audit'] }))],
  ['a binding selects other namespaces', ENFORCE, binding(PODS, matching({ namespaceSelector: TEAM }))],
  ['a binding exempts a namespace', CLASSES, binding(CLASSES, matching({ namespaceSelector: NOT_IN_A }))],
  ['a binding selects objects', ENFORCE, binding(PODS, matching({ objectSelector: TEAM }))],
  ['a binding excludes rules', ENFORCE, binding(PODS, matching({ excludeResourceRules: [PODS_RULE] }))],
  ['a binding has fewer rules', ENFORCE, binding(PODS, matching({ resourceRules: [PODS_RULE] }))],
  ['a binding of the base gets a selector', KEYS, binding(KEYS, matching({ namespaceSelector: TEAM }))],
  [
    'a binding finds no parameter and allows',
    CLASSES,
    binding(CLASSES, () => ({ paramRef: { selector: TEAM, parameterNotFoundAction: 'Allow' } })),
  ],
  [
    'a binding binds another policy',
    ENFORCE,
    binding(PODS, () => ({ policyName: 'gvisor-ready-compatibility' })),
  ],
  ['a policy ignores failures', KEYS, policy(KEYS, () => ({ failurePolicy: 'Ignore' }))],
  ['a policy has a condition that is false', KEYS, conditionsAnd(KEYS, 'false')],
  [
    'a policy has a condition for a user',
    ENFORCE,
    conditionsAnd(ENFORCE, "request.userInfo.username != 'mallory'"),
  ],
  ['a policy selects objects', ENFORCE, policy(ENFORCE, constrained({ objectSelector: TEAM }))],
  ['a policy excludes rules', KEYS, policy(KEYS, constrained({ excludeResourceRules: [PODS_RULE] }))],
  ['a policy has fewer operations', KEYS, policy(KEYS, constrained({ resourceRules: [PODS_RULE] }))],
  ['a policy matches exactly', ENFORCE, policy(ENFORCE, constrained({ matchPolicy: 'Exact' }))],
  ['a validation is true', KEYS, policy(KEYS, () => ({ validations: [{ expression: 'true' }] }))],
  [
    'a validation is removed',
    AGENT,
    policy(AGENT, ({ validations = [] }) => ({
      validations: validations.filter(
        ({ expression }) => expression !== 'object.metadata.name == variables.node',
      ),
    })),
  ],
  [
    'a variable of a rule is empty',
    ENFORCE,
    setting(ENFORCE, 'problems', "variables.starts ? ['x'].filter(x, false) : []"),
  ],
  [
    'a setting is an expression',
    ENFORCE,
    setting(ENFORCE, 'runtimeClassNames', "['gvisor', request.userInfo.username]"),
  ],
  [
    'a setting permits pods without a class',
    ENFORCE,
    setting(ENFORCE, 'runtimeClassNames', "['gvisor', '']"),
  ],
  ['the main handler is another', CLASSES, setting(CLASSES, 'mainHandler', "'runc'")],
  [
    'an older policy has the new label',
    'gvisor-ready-fleet',
    policy('gvisor-ready-fleet', ({ validations = [] }) => ({ validations: validations.slice(1) })),
  ],
  [
    'a decoy has the name, and the policy is gone',
    AGENT,
    both(
      copied('Policy', AGENT, (each) => ({
        ...each,
        metadata: { ...each.metadata, name: `a-${AGENT}` },
        spec: { ...each.spec, validations: [{ expression: 'true' }] },
      })),
      without('Policy', AGENT),
    ),
  ],
  [
    'a decoy binding has the name, and the binding is narrowed',
    ENFORCE,
    both(
      copied('Binding', PODS, (each) => ({
        ...each,
        metadata: { ...each.metadata, name: `${PODS}-2` },
        spec: { ...each.spec, validationActions: ['Warn'] },
      })),
      binding(PODS, matching({ namespaceSelector: TEAM })),
    ),
  ],
  [
    'the guard of namespaces audits',
    'gvisor-ready-guard-namespace',
    binding('gvisor-ready-guard-namespace', () => ({ validationActions: ['Warn', 'Audit'] })),
  ],
  [
    'the account of the agents is another',
    'gvisor-ready-agent-events',
    policy('gvisor-ready-agent-events', () => ({
      matchConditions: [
        {
          name: 'written-by-an-agent',
          expression: "request.userInfo.username == 'system:serviceaccount:gvisor-ready:another'",
        },
      ],
    })),
  ],
  [
    'another namespace is exempt',
    ENFORCE,
    policy(ENFORCE, ({ matchConditions = [] }) => ({
      matchConditions: matchConditions.map((each) => ({
        ...each,
        expression: each.expression?.replace("'gvisor-ready'", "'evaluations'"),
      })),
    })),
  ],
  [
    'pods that are older may be bound',
    'gvisor-ready-enforce-bindings',
    binding('gvisor-ready-enforce-bindings', matching({ namespaceSelector: TEAM })),
  ],
];

/** What is somebody else's, or a setting of ours. */
export const OVERLAYS: readonly (readonly [what: string, change: Change])[] = [
  [
    'common labels',
    labelled({ 'app.kubernetes.io/version': '2026.12', 'app.kubernetes.io/name': 'platform' }),
  ],
  ['common annotations', annotated({ 'example.org/team': 'platform' })],
  ["Argo CD's tracking label", labelled({ 'app.kubernetes.io/instance': 'sandboxing' })],
  ["Argo CD's tracking annotation", annotated({ 'argocd.argoproj.io/tracking-id': 'a:b/c:d/e' })],
  [
    "Helm's labels",
    labelled({ 'helm.sh/chart': 'gvisor-ready-0.1.0', 'app.kubernetes.io/managed-by': 'Helm' }),
  ],
  ['a prefix and a suffix', renamed],
  [
    'settings',
    both(
      both(
        setting(ENFORCE, 'runtimeClassNames', '[ \'gvisor\', "gvisor-gpu" ]'),
        setting(ENFORCE, 'hostPorts', '[8080, 9090]'),
      ),
      setting(CLASSES, 'poolLabels', "['example.org/gvisor']"),
    ),
  ],
  [
    'messages of the platform',
    policy(KEYS, ({ validations = [] }) => ({
      validations: validations.map((each) => ({ ...each, message: 'see the wiki' })),
    })),
  ],
  [
    'a validation more',
    policy(ENFORCE, ({ validations = [] }) => ({ validations: [...validations, { expression: 'true' }] })),
  ],
  ['audit beside deny', binding(PODS, () => ({ validationActions: ['Audit', 'Deny'] }))],
  [
    'a second policy of the platform',
    both(copied('Policy', KEYS, platforms), copied('Binding', KEYS, platforms)),
  ],
  [
    'what the API server adds',
    policy(KEYS, (spec) => ({
      failurePolicy: 'Fail',
      ...constrained({ matchPolicy: 'Equivalent', namespaceSelector: {}, objectSelector: {} })(spec),
    })),
  ],
];

function labelled(labels: Readonly<Record<string, string>>): Change {
  return (objects) =>
    objects.map((each) => ({
      ...each,
      metadata: { ...each.metadata, labels: { ...each.metadata.labels, ...labels } },
    }));
}

function annotated(annotations: Readonly<Record<string, string>>): Change {
  return (objects) => objects.map((each) => ({ ...each, metadata: { ...each.metadata, annotations } }));
}

function renamed(objects: readonly Manifest[]): readonly Manifest[] {
  return objects.map((each) => ({
    ...each,
    metadata: { ...each.metadata, name: `p-${each.metadata.name}-s` },
    ...(each.spec?.policyName && { spec: { ...each.spec, policyName: `p-${each.spec.policyName}-s` } }),
  }));
}

function platforms(each: Manifest): Manifest {
  const { policyName, ...rest } = each.spec ?? {};
  const name = `platform-${each.metadata.name}`;
  const own = policyName === undefined ? { validations: [{ expression: 'true' }] } : { policyName: name };
  return { ...each, metadata: { name }, spec: { ...rest, ...own } };
}
