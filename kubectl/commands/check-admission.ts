import type { V1Pod } from '@kubernetes/client-node';
import {
  ACCEPTED,
  describeChange,
  describeEffect,
  EFFECTS,
  effectOf,
  GUARDS,
  type GuardName,
  type GuardState,
  type Guards,
  guardNamed,
  type MissingGuard,
  namedClasses,
  settingOf,
} from '../../lib/fleet/guards.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import type { Context } from '../api/context.ts';
import type { readView } from '../cluster/fleet-controller.ts';
import { readGuardState, readOwnGuards } from '../cluster/guards.ts';
import {
  labelled,
  listRequirements,
  REQUIRE,
  type Requirements,
  RUNTIME_CLASS,
} from '../cluster/requirements.ts';
import { type CheckLine, inSection } from '../text/output.ts';
import { tryPods } from './try-pods.ts';

const ENFORCE = 'gvisor-ready-enforce' satisfies GuardName;
const GUARD = 'gvisor-ready-guard-namespace' satisfies GuardName;
const line = inSection('Admission');

/** Also checks the labels of namespaces, and tries what their pods may do. */
export async function checkAdmission(
  { api }: Context,
  view: ReturnType<typeof readView>,
): Promise<readonly CheckLine[]> {
  const [guards, requirements] = await Promise.all([readOwnGuards(api), listRequirements(api)]);
  const state = await readGuardState(api, await view);
  const { missing, accepted = [] } = state;
  const others = missing.filter(({ guard }) => guard !== ENFORCE && guard !== GUARD);
  const classes = namedClasses(guards).length > 0 ? namedClasses(guards) : [RUNTIME_CLASS];
  const required = labelled(requirements, 'true').filter((name) => !isOfTheSystem(name, api.installedIn));
  const allow = settingOf('gvisor-ready-enforce', 'allow', guards);
  return [
    ...aboutPart('base', missing),
    ...aboutPart('fleet', missing),
    ...aboutPart('optional', missing),
    ...aboutEnforcement(guards, state, requirements),
    ...aboutPart('enforce', others),
    ...accepted.map(({ guard, changes }) =>
      line(
        'AcceptedPolicies',
        'pass',
        `The policy ${guard} was changed on purpose: ${changes.map(describeChange).join('; ')}`,
        { policy: guard, changes },
      ),
    ),
    ...aboutClasses(missing),
    ...aboutWatch(state),
    ...(await tryPods(api, required, { classes, allow })),
    ...aboutLabels(requirements, api.installedIn),
    ...(await aboutPendingPods(api, requirements, classes)),
  ];
}

/** What the fleet controller knows beside the guards of now. */
function aboutWatch({ lifted = [], problem }: GuardState): CheckLine[] {
  const text = `gVisor is no longer required in ${firstOf(lifted)}: label it again, or write ${REQUIRE}: "false"`;
  return [
    ...(lifted.length === 0 ? [] : [line('RequirementLifted', 'fail', text, { namespaces: lifted })]),
    ...(problem === undefined
      ? []
      : [line('GuardsUnread', 'warning', `The controller cannot read the guards: ${problem}`, { problem })]),
  ];
}

/** Those that `check` says of a class's handler stand in its own section. */
function aboutClasses(missing: readonly MissingGuard[]): CheckLine[] {
  return missing
    .filter(({ guard }) => guardNamed(guard) === undefined)
    .map(({ guard, effect, danger }) =>
      line('RuntimeClassGuard', 'fail', `The ${guard} ${EFFECTS[effect]}: ${danger}`, { guard, effect }),
    );
}

/** Its policies skip these. */
function isOfTheSystem(namespace: string, installedIn: string): boolean {
  return namespace === installedIn || namespace.startsWith('kube-');
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
  const own = missing.filter(({ guard }) => guardNamed(guard)?.part === part);
  if (own.length === 0) return sound === undefined ? [] : [line(id, 'pass', sound)];
  return own.map((each) => {
    const { guard, effect, danger, changes = [] } = each;
    const text = `The policy ${describeEffect(each)}: ${danger}${remedyOf(each)}`;
    return line(id, 'fail', text, { policy: guard, effect, ...(changes.length > 0 && { changes }) });
  });
}

type Described = Omit<MissingGuard, 'danger'>;

function remedyOf({ changes = [] }: Described): string {
  const commands = changes.map(
    ({ resource, name, digest }) => `kubectl annotate --overwrite ${resource} ${name} ${ACCEPTED}=${digest}`,
  );
  return commands.length === 0 ? '' : `. Replace it, or accept it: ${commands.join(' && ')}`;
}

function aboutEnforcement(
  guards: Guards,
  { missing, fromFiles = false }: GuardState,
  requirements: Requirements,
): CheckLine[] {
  const found = (guard: GuardName): Described =>
    missing.find((each) => each.guard === guard) ?? { guard, effect: effectOf(guard, guards) };
  const enforced = found(ENFORCE);
  const { effect } = enforced;
  const namespaces = labelled(requirements, 'true');
  const data = { policy: ENFORCE, effect, namespaces };
  const what = `The policy ${describeEffect(enforced)}`;
  if (effect === 'absent' && fromFiles) {
    const text = 'By GUARDS_FROM_FILES the API server has the policies of enforce in its files';
    return [line('Enforcement', 'pass', text, data)];
  }
  if (effect === 'absent' && requirements.size === 0) {
    const text = 'No namespace requires gVisor, and the component enforce is not installed';
    return [line('Enforcement', 'pass', text, data)];
  }
  if (effect !== 'denies' && namespaces.length === 0)
    return [line('Enforcement', 'warning', `${what}: ${GUARDS[ENFORCE].danger}`, data)];
  if (effect !== 'denies') {
    const text = `${what}, so pods in ${firstOf(namespaces)} can run outside gVisor${remedyOf(enforced)}`;
    return [line('Enforcement', 'fail', text, data)];
  }
  const lifting = found(GUARD);
  const guard = lifting.effect;
  const isGuarded = guard === 'denies' || (guard === 'absent' && fromFiles);
  const text = isGuarded
    ? 'Lifting the requirement from a namespace takes a permission of its own'
    : `The policy ${describeEffect(lifting)}: every user who may label a namespace can lift the requirement${remedyOf(lifting)}`;
  return [
    line('Enforcement', 'pass', 'Pods outside gVisor are denied where it is required', data),
    line('NamespaceGuard', isGuarded ? 'pass' : 'fail', text, { policy: GUARD, effect: guard }),
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
