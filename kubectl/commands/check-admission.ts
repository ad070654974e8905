import type { V1Pod } from '@kubernetes/client-node';
import {
  EFFECTS,
  effectOf,
  GUARDS,
  type Guards,
  type MissingGuard,
  policyOf,
} from '../../lib/fleet/guards.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import type { Context } from '../context.ts';
import { readMissingGuards } from '../guards.ts';
import { type CheckLine, inSection } from '../output.ts';
import { labelled, REQUIRE, type Requirements, RUNTIME_CLASS } from '../requirements.ts';

const ENFORCE = 'gvisor-ready-enforce';
const GUARD = 'gvisor-ready-guard-namespace';
const line = inSection('Admission');

/** Also checks the labels of namespaces. */
export async function checkAdmission({ api }: Context): Promise<readonly CheckLine[]> {
  const { guards, missing, requirements } = await readMissingGuards(api);
  const others = missing.filter(({ guard }) => guard !== ENFORCE && guard !== GUARD);
  return [
    ...aboutPart('base', missing),
    ...aboutPart('fleet', missing),
    ...aboutPart('optional', missing),
    ...aboutEnforcement(guards, requirements),
    ...aboutPart('enforce', others),
    ...aboutLabels(requirements, api.installedIn),
    ...(await aboutPendingPods(api, requirements, allowedClasses(guards))),
  ];
}

/** The line of each part, and what it says if its policies are in force. */
const PARTS = {
  base: ['AgentPolicies', 'Agents can write only their own Node: the policies are in force'],
  fleet: ['FleetPolicies', 'The fleet controller can only withdraw labels: the policies are in force'],
  optional: ['ComponentPolicies'],
  enforce: ['ComponentPolicies'],
} as const;

function aboutPart(part: keyof typeof PARTS, missing: readonly MissingGuard[]): CheckLine[] {
  const [id, sound] = PARTS[part];
  const own = missing.filter(({ guard }) => GUARDS[guard]?.part === part);
  if (own.length === 0) return sound === undefined ? [] : [line(id, 'pass', sound)];
  return own.map(({ guard, effect, danger }) =>
    line(id, 'fail', `The policy ${guard} ${EFFECTS[effect]}: ${danger}`, { policy: guard, effect }),
  );
}

function aboutEnforcement(guards: Guards, requirements: Requirements): CheckLine[] {
  const effect = effectOf(ENFORCE, guards);
  const namespaces = labelled(requirements, 'true');
  const data = { policy: ENFORCE, effect, namespaces };
  const what = `The policy ${ENFORCE} ${EFFECTS[effect]}`;
  if (effect === 'absent' && requirements.size === 0) {
    const text = 'No namespace requires gVisor, and the component enforce is not installed';
    return [line('Enforcement', 'pass', text, data)];
  }
  if (effect !== 'denies' && namespaces.length === 0)
    return [line('Enforcement', 'warning', `${what}: ${GUARDS[ENFORCE]?.danger}`, data)];
  if (effect !== 'denies') {
    const text = `${what}, so pods in ${firstOf(namespaces)} can run outside gVisor`;
    return [line('Enforcement', 'fail', text, data)];
  }
  const guard = effectOf(GUARD, guards);
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

function allowedClasses(guards: Guards): readonly string[] {
  const setting = policyOf(ENFORCE, guards)?.spec?.variables?.find(
    ({ name }) => name === 'runtimeClassNames',
  );
  const names = [...(setting?.expression ?? '').matchAll(/['"]([^'"]+)['"]/g)].map(([, name = '']) => name);
  return names.length > 0 ? names : [RUNTIME_CLASS];
}

/** Pods created before their namespace was labelled: no policy sees a pod start. */
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
    .flat()
    .filter(({ spec }) => !classes.includes(spec?.runtimeClassName ?? ''))
    .filter(({ status }) => status?.phase === 'Pending')
    .map(({ metadata: { namespace, name, uid }, spec }) => {
      return { namespace, name, uid, node: spec?.nodeName ?? null };
    });
  if (pending.length === 0) return [];
  const names = pending.map(
    ({ namespace, name, node }) =>
      `${namespace}/${name} (waits ${node === null ? 'for a node' : `on ${node}`})`,
  );
  const text = `Older than the requirement, and would start outside gVisor: ${firstOf(names)}. Delete ${pending.length === 1 ? 'it' : 'them'}`;
  return [line('OlderPendingPods', 'fail', text, { pods: pending })];
}
