import { NAMESPACE } from '../agent/kube/access.ts';
import { type CheckLine, inSection } from './check-line.ts';
import type { Context } from './context.ts';
import { count, named, REQUIRE, RUNTIME_CLASS } from './known.ts';
import { listRequirements, type RawPod } from './pod-view.ts';

type Policy = {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly failurePolicy?: string;
    readonly variables?: readonly { readonly name: string; readonly expression: string }[];
  };
};
type Binding = {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly policyName?: string; readonly validationActions?: readonly string[] };
};

/** How a policy stands: not there, there and bound to nothing, bound to warn, or bound to refuse. */
type Force = 'absent' | 'unbound' | 'warns' | 'refuses';

const GROUP = '/apis/admissionregistration.k8s.io/v1';
/** What the base installs, and what is possible without it. */
const BASE: Readonly<Record<string, string>> = {
  'gvisor-ready-agent': 'an agent could write other nodes than its own',
  'gvisor-ready-agent-events': 'an agent could create events in the name of other nodes',
  'gvisor-ready-node-keys': 'every user who may patch a Node can label it as proven',
};
/** What the component `enforce` installs: the rules, and what guards them. */
const RULES = 'gvisor-ready-enforce';
const GUARD = 'gvisor-ready-guard-namespace';
/** The binding that refuses pods: others of the same policy warn, or are about other objects. */
const PODS = 'gvisor-ready-enforce-pods';

const DOCS = 'docs/admission.md#installing-it';

/** The policies and what they are bound to, and the labels of namespaces. */
export async function checkAdmission({ api }: Context): Promise<readonly CheckLine[]> {
  const [policies, bindings, requirements] = await Promise.all([
    api.list<Policy, Policy>(`${GROUP}/validatingadmissionpolicies`, {}, (one) => one),
    api.list<Binding, Binding>(`${GROUP}/validatingadmissionpolicybindings`, {}, (one) => one),
    listRequirements(api),
  ]);
  const forceOf = (name: string): Force => forceIn(name, policies.items, bindings.items);
  const classes = classesIn(policies.items.find(({ metadata }) => isNamed(metadata, RULES)));
  return [
    ...aboutBase(forceOf),
    ...aboutRules(forceOf, requirements),
    ...aboutLabels(requirements),
    ...(await aboutWaiting(api, requirements, classes)),
  ];
}

/** Whether an object has this name, also with a prefix that a kustomization gave it. */
function isNamed({ name }: Policy['metadata'], wanted: string): boolean {
  return name === wanted || name.endsWith(`-${wanted}`);
}

/** The runtime classes that the policy lets pods name. */
function classesIn(rules: Policy | undefined): readonly string[] {
  const setting = rules?.spec.variables?.find(({ name }) => name === 'runtimeClassNames');
  const classes = [...(setting?.expression ?? '').matchAll(/['"]([^'"]+)['"]/g)].map(
    ([, name]) => name ?? '',
  );
  return classes.length > 0 ? classes : [RUNTIME_CLASS];
}

/** Pods that are older than the label and have not started: no policy sees them start. */
async function aboutWaiting(
  api: Context['api'],
  requirements: ReadonlyMap<string, string>,
  classes: readonly string[],
): Promise<CheckLine[]> {
  const required = [...requirements].filter(([, value]) => value === 'true').map(([name]) => name);
  const pending = { fieldSelector: 'status.phase=Pending' };
  const lists = await Promise.all(
    required.map((name) =>
      api.list<RawPod, RawPod>(`/api/v1/namespaces/${name}/pods`, pending, (pod) => pod),
    ),
  );
  const waiting = lists
    .flatMap(({ items }) => items)
    .filter(
      ({ spec, status }) => status?.phase === 'Pending' && !classes.includes(spec.runtimeClassName ?? ''),
    )
    .map(({ metadata: { namespace, name }, spec: { nodeName } }) =>
      nodeName === undefined
        ? `${namespace}/${name} (waits for a node)`
        : `${namespace}/${name} (waits on ${nodeName})`,
    );
  if (waiting.length === 0) return [];
  const what = `Older than the requirement, and would start outside of gVisor: ${named(waiting)}. Delete ${waiting.length === 1 ? 'it' : 'them'}`;
  return [inSection('Admission')('fail', what, DOCS)];
}

function forceIn(name: string, policies: readonly Policy[], bindings: readonly Binding[]): Force {
  const policy = policies.find(({ metadata }) => isNamed(metadata, name));
  if (policy === undefined) return 'absent';
  const bound = bindings.filter(
    ({ metadata, spec }) =>
      spec.policyName === policy.metadata.name && (name !== RULES || isNamed(metadata, PODS)),
  );
  if (bound.length === 0) return 'unbound';
  const refuses = bound.some(({ spec }) => spec.validationActions?.includes('Deny'));
  return refuses && policy.spec.failurePolicy !== 'Ignore' ? 'refuses' : 'warns';
}

const SAID: Readonly<Record<Force, string>> = {
  absent: 'is not installed',
  unbound: 'is bound to nothing',
  warns: 'only warns',
  refuses: 'refuses',
};

function aboutBase(forceOf: (name: string) => Force): CheckLine[] {
  const line = inSection('Admission');
  const docs = 'docs/security.md#what-a-stolen-token-of-one-node-can-do-and-cannot';
  const weak = Object.entries(BASE).filter(([name]) => forceOf(name) !== 'refuses');
  if (weak.length === 0)
    return [line('pass', 'An agent writes its own Node alone: its policies are in force', docs)];
  return weak.map(([name, danger]) =>
    line('fail', `The policy ${name} ${SAID[forceOf(name)]}: ${danger}`, docs),
  );
}

function aboutRules(
  forceOf: (name: string) => Force,
  requirements: ReadonlyMap<string, string>,
): CheckLine[] {
  const line = inSection('Admission');
  const rules = forceOf(RULES);
  const required = [...requirements].filter(([, value]) => value === 'true').map(([name]) => name);
  if (rules === 'absent' && requirements.size === 0)
    return [line('pass', 'No namespace requires gVisor, and the component enforce is not installed', DOCS)];
  if (rules !== 'refuses') {
    const what = `The policy ${RULES} ${SAID[rules]}`;
    return [
      required.length > 0
        ? line('fail', `${what}, so nothing holds pods in ${named(required)} to gVisor`, DOCS)
        : line('warning', `${what}: pods outside of gVisor are not refused`, DOCS),
    ];
  }
  const guard = forceOf(GUARD);
  const docs = 'docs/admission.md#who-may-lift-the-requirement';
  return [
    line('pass', 'Pods that would run outside of gVisor are refused where it is required', DOCS),
    guard === 'refuses'
      ? line('pass', 'Only a right of its own takes the requirement off a namespace', docs)
      : line(
          'fail',
          `The policy ${GUARD} ${SAID[guard]}: every user who may label a namespace can lift the requirement`,
          docs,
        ),
  ];
}

function aboutLabels(requirements: ReadonlyMap<string, string>): CheckLine[] {
  const line = inSection('Admission');
  const having = (value: string) =>
    [...requirements].filter(([, each]) => each === value).map(([name]) => name);
  const wrong = [...requirements].filter(([, value]) => !['true', 'audit', 'false'].includes(value));
  const unwise = ['kube-system', NAMESPACE].filter((name) =>
    ['true', 'audit'].includes(requirements.get(name) ?? ''),
  );
  const [required, audited] = [having('true'), having('audit')];
  return [
    ...(required.length + audited.length === 0
      ? []
      : [
          line(
            'pass',
            `gVisor is required in ${count(required.length, 'namespace')}${required.length === 0 ? '' : ` (${named(required)})`}, audited in ${audited.length}${audited.length === 0 ? '' : ` (${named(audited)})`}`,
            DOCS,
          ),
        ]),
    ...wrong.map(([name, value]) =>
      line(
        'fail',
        `The namespace ${name} has ${REQUIRE}: "${value}", which requires nothing: write "true", "audit" or "false"`,
        DOCS,
      ),
    ),
    ...unwise.map((name) =>
      line(
        'fail',
        `The namespace ${name} is labelled ${REQUIRE}, and what runs there needs the host`,
        'docs/admission.md',
      ),
    ),
  ];
}
