import { NAMESPACE } from '../agent/installed.ts';
import { type CheckLine, inSection } from './check-line.ts';
import type { Context } from './context.ts';
import { count, named, REQUIRE } from './known.ts';
import { listRequirements } from './pod-view.ts';

type Policy = {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly failurePolicy?: string };
};
type Binding = {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly policyName?: string; readonly validationActions?: readonly string[] };
};

/** How a policy stands: not there, there and bound to nothing, bound to warn, or bound to refuse. */
type Force = 'absent' | 'unbound' | 'warns' | 'refuses';

const GROUP = '/apis/admissionregistration.k8s.io/v1';
/** What the base installs: an agent writes its own Node alone. */
const BASE = ['gvisor-ready-agent', 'gvisor-ready-agent-events'];
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
  return [...aboutBase(forceOf), ...aboutRules(forceOf, requirements), ...aboutLabels(requirements)];
}

function forceIn(name: string, policies: readonly Policy[], bindings: readonly Binding[]): Force {
  const policy = policies.find(({ metadata }) => metadata.name === name);
  if (policy === undefined) return 'absent';
  const bound = bindings.filter(
    ({ metadata, spec }) => spec.policyName === name && (name !== RULES || metadata.name === PODS),
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
  const weak = BASE.filter((name) => forceOf(name) !== 'refuses');
  if (weak.length === 0)
    return [line('pass', 'An agent writes its own Node alone: both policies are in force', docs)];
  return weak.map((name) =>
    line(
      'fail',
      `The policy ${name} ${SAID[forceOf(name)]}: an agent could write other nodes than its own`,
      docs,
    ),
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
