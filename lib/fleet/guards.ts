import { errorLine } from '../base/sanitize.ts';
import { VERSION } from '../base/version.ts';
import type { ApiAccess, Kube } from '../kube/client.ts';
import { KubeError } from '../kube/error.ts';
import { pagesOf } from '../kube/pages.ts';
import {
  type Admission,
  differences,
  digestOf,
  type InstalledAs,
  type Shape,
  shapeOf,
} from './guard-shape.ts';
import SHAPES from './guard-shapes.json' with { type: 'json' };
import { type AgentSettings, agentSettingsOf } from './objects.ts';
import { judgeClasses, type RuntimeClass } from './runtime-classes.ts';

/** An admission policy of manifests/, with its bindings. */
type Guard = {
  /**
   * `base` and `fleet` come with agents and controller; `enforce` must be there if a namespace requires
   * gVisor.
   */
  readonly part: 'base' | 'fleet' | 'enforce' | 'optional';
  /** Possible without it. */
  readonly danger: string;
};

/** Every policy of manifests/, but that of what gVisor refuses, which only warns. */
export const GUARDS = {
  'gvisor-ready-agent': { part: 'base', danger: 'an agent could write other nodes than its own' },
  'gvisor-ready-agent-events': {
    part: 'base',
    danger: 'an agent could create events in the name of other nodes',
  },
  'gvisor-ready-node-keys': {
    part: 'base',
    danger: 'every user who may patch a Node can label it as proven',
  },
  'gvisor-ready-pods': {
    part: 'base',
    danger: 'a node can pass its static pods off as agents or controller',
  },
  'gvisor-ready-fleet': { part: 'fleet', danger: 'the fleet controller could label any node as proven' },
  'gvisor-ready-fleet-events': { part: 'fleet', danger: 'the fleet controller could create any event' },
  'gvisor-ready-enforce': {
    part: 'enforce',
    danger: 'pods can run outside gVisor where it is required',
  },
  'gvisor-ready-enforce-classes': {
    part: 'enforce',
    danger: 'pods can name a class that does not run gVisor',
  },
  'gvisor-ready-guard-namespace': {
    part: 'enforce',
    danger: 'every user who may label a namespace can lift the requirement',
  },
  'gvisor-ready-enforce-bindings': {
    part: 'optional',
    danger: 'pods that are older than the requirement can start outside gVisor',
  },
  'gvisor-ready-inject': { part: 'optional', danger: 'pods that name no runtime class are refused' },
} as const satisfies Readonly<Record<string, Guard>>;
export type GuardName = keyof typeof GUARDS;
const NAMES = Object.keys(GUARDS) as GuardName[];

/** Undefined for a RuntimeClass, which is a guard too. */
export function guardNamed(name: string): Guard | undefined {
  return NAMES.some((each) => each === name) ? GUARDS[name as GuardName] : undefined;
}

export const EFFECTS = {
  absent: 'is not installed',
  unbound: 'has no binding that denies',
  warns: 'only warns',
  changed: `is not that of version ${VERSION}`,
  unproven: 'has a handler that the agents do not prove',
  unscoped: 'does not select the nodes where its handler is proven',
  denies: 'denies',
} as const;
type Effect = keyof typeof EFFECTS;

/** Validating and mutating ones, and what the installation they guard is named. */
export type Guards = {
  readonly installation: InstalledAs;
  readonly policies: readonly Admission[];
  readonly bindings: readonly Admission[];
};

/** A policy or binding that differs from the manifests. */
export type Change = {
  /** As kubectl names it. */
  readonly resource: string;
  readonly name: string;
  /** Of the spec. */
  readonly aspects: readonly string[];
  /** The value of the annotation that accepts it. */
  readonly digest: string;
};

export type MissingGuard = {
  readonly guard: string;
  readonly effect: Effect;
  readonly danger: string;
  readonly changes?: readonly Change[];
};

/** A guard that differs from the manifests on purpose. */
export type AcceptedGuard = { readonly guard: string; readonly changes: readonly Change[] };

/** Its value is the digest of a policy or binding that somebody changed on purpose. */
export const ACCEPTED = 'gvisor-ready.dev/accepted-spec';

const MUTATING: GuardName = 'gvisor-ready-inject';
const PART_OF = { 'app.kubernetes.io/name': 'gvisor-ready' } as const;
const DENIES = digestOf({ validationActions: ['Deny'] });
type Known = { readonly policy?: string; readonly shape: Shape };
const POLICIES: Readonly<Record<string, Known>> = SHAPES.policies;
/** A binding of a mutating policy has no actions. */
const BINDINGS = Object.entries<Known>(SHAPES.bindings).filter(
  ([, { shape }]) => (shape.validationActions ?? DENIES) === DENIES,
);

/** The longest in a name, which may have a prefix and a suffix of a kustomization. */
function guardIn(name = ''): GuardName | undefined {
  const found = NAMES.filter((each) => name.includes(each));
  return found.sort((a, b) => b.length - a.length)[0];
}

/** The policy that is in force, or else one whose name is the guard's. */
export function policyOf(guard: GuardName, guards: Guards): Admission | undefined {
  const named = guards.policies.filter(({ metadata }) => guardIn(metadata.name) === guard);
  return named.find((each) => judgePolicy(guard, each, guards).effect === 'denies') ?? named[0];
}

export function effectOf(guard: GuardName, guards: Guards): Effect {
  return judge(guard, guards).effect;
}

type Judged = {
  readonly effect: Effect;
  readonly changes: readonly Change[];
  readonly accepted: readonly Change[];
};

function judge(guard: GuardName, guards: Guards): Judged {
  const policy = policyOf(guard, guards);
  return policy === undefined
    ? { effect: 'absent', changes: [], accepted: [] }
    : judgePolicy(guard, policy, guards);
}

/** A binding is known by what it binds; its name says only which one was changed. */
function judgePolicy(guard: GuardName, policy: Admission, { bindings, installation }: Guards): Judged {
  const compare = (object: Admission, expected: Shape) =>
    comparisonOf(object, { guard, expected, installation });
  const live = bindings.filter(({ spec }) => spec?.policyName === policy.metadata.name);
  const ofBindings = BINDINGS.filter(([, known]) => known.policy === guard).map(([name, { shape }]) => {
    const compared = live.map((each) => compare(each, shape));
    const isSound = ({ change }: Comparison) => change.aspects.length === 0;
    return compared.find(isSound) ?? compared.find(({ change }) => change.name.includes(name));
  });
  const compared = [compare(policy, POLICIES[guard]?.shape ?? {}), ...ofBindings];
  const different = compared.filter((each) => each !== undefined && each.change.aspects.length > 0);
  const changes = different.flatMap((each) => (each?.isAccepted === false ? [each.change] : []));
  const accepted = different.flatMap((each) => (each?.isAccepted === true ? [each.change] : []));
  return { effect: ofBindings.includes(undefined) ? 'unbound' : effectOfChanges(changes), changes, accepted };
}

type Comparison = { readonly change: Change; readonly isAccepted: boolean };

function comparisonOf(
  object: Admission,
  { guard, expected, installation }: { guard: GuardName; expected: Shape; installation: InstalledAs },
): Comparison {
  const { name, annotations } = object.metadata;
  const shape = shapeOf(object, installation);
  const kind = guard === MUTATING ? 'mutatingadmissionpolicy' : 'validatingadmissionpolicy';
  const digest = digestOf(shape);
  return {
    change: {
      resource: object.spec?.policyName === undefined ? kind : `${kind}binding`,
      name,
      aspects: differences(expected, shape),
      digest,
    },
    isAccepted: annotations?.[ACCEPTED] === digest,
  };
}

/** A policy that only warns may ignore failures as well. */
function effectOfChanges(changes: readonly Change[]): Effect {
  if (changes.length === 0) return 'denies';
  const aspects = changes.flatMap((change) => change.aspects);
  const isWarning = aspects.every((aspect) => aspect === 'validationActions' || aspect === 'failurePolicy');
  return isWarning && aspects.includes('validationActions') ? 'warns' : 'changed';
}

/** Guards of which a policy or a binding is there, under its own name or with the project's label. */
function presentIn({ policies, bindings }: Guards): ReadonlySet<string | undefined> {
  const isOwn = ({ metadata: { name, labels = {} } }: Admission) =>
    guardNamed(name) !== undefined || Object.entries(PART_OF).every(([key, value]) => labels[key] === value);
  return new Set([
    ...policies.filter(isOwn).map(({ metadata }) => guardIn(metadata.name)),
    ...bindings.filter(isOwn).map(({ spec }) => guardIn(spec?.policyName)),
  ]);
}

/** Facts that decide which guards must be there. */
type Needs = {
  readonly hasFleet: boolean;
  /** Whether a namespace requires gVisor. */
  readonly isRequired: boolean;
  /** Guards that were there before. */
  readonly seen?: ReadonlySet<string>;
  /** Whether policies that the API server does not list may be in its files. */
  readonly fromFiles?: boolean;
};

/** Also guards of which only a part is there, and those that have gone. */
export function judgeGuards(
  guards: Guards,
  { hasFleet, isRequired, seen, fromFiles = false }: Needs,
): { readonly missing: readonly MissingGuard[]; readonly accepted: readonly AcceptedGuard[] } {
  const present = presentIn(guards);
  const isNeeded = (guard: string, part: Guard['part']) =>
    part === 'base' ||
    (part === 'fleet' && hasFleet) ||
    (isRequired && (part === 'enforce' || seen?.has(guard))) ||
    present.has(guard);
  const judged = NAMES.map((guard) => {
    return { guard, ...GUARDS[guard], ...judge(guard, guards) };
  });
  return {
    missing: judged.flatMap(({ guard, part, danger, effect, changes }) => {
      // A component lets the policies of enforcement warn alone, until a namespace requires gVisor.
      const mayWarn = !isRequired && part !== 'base' && part !== 'fleet';
      const isInForce = effect === 'denies' || (effect === 'warns' && mayWarn);
      if (isInForce || !isNeeded(guard, part) || (fromFiles && effect === 'absent')) return [];
      return [{ guard, effect, danger, ...(changes.length > 0 && { changes }) }];
    }),
    accepted: judged.flatMap(({ guard, accepted }) =>
      accepted.length === 0 ? [] : [{ guard, changes: accepted }],
    ),
  };
}

export function describeMissing(missing: MissingGuard): string {
  return `${describeEffect(missing)}: ${missing.danger}`;
}

export function describeEffect({ guard, effect, changes = [] }: Omit<MissingGuard, 'danger'>): string {
  const where = changes.length === 0 ? '' : ` (${changes.map(describeChange).join('; ')})`;
  return `${guard} ${EFFECTS[effect]}${where}`;
}

export function describeChange({ resource, name, aspects }: Change): string {
  return `${aspects.join(', ')} of ${resource}/${name}`;
}

/** The RuntimeClasses that are guards, as guards are named, and those that let pods out of gVisor or keep them from starting. */
export function missingClasses(
  classes: readonly RuntimeClass[],
  { guards, settings, isRequired, seen }: ClassFacts,
): { readonly judged: readonly string[]; readonly faults: readonly MissingGuard[] } {
  const { judged, faults } = judgeClasses(classes, {
    handlers: settings.handlers,
    taints: settings.taints,
    installed: settings.classes,
    named: namedClasses(guards),
    seen: isRequired ? seen : new Set(),
  });
  return {
    judged: judged.map(guardOf),
    faults: faults.map(({ name, ...fault }) => ({ guard: guardOf(name), ...fault })),
  };
}

type ClassFacts = {
  readonly guards: Guards;
  readonly settings: AgentSettings;
  readonly isRequired: boolean;
  /** Classes that were there before. */
  readonly seen: ReadonlySet<string>;
};

const guardOf = (runtimeClass: string) => `runtimeclass/${runtimeClass}`;

/** The classes that pods may name where gVisor is required; none if the policy is not installed. */
export function namedClasses(guards: Guards): readonly string[] {
  return settingOf('gvisor-ready-enforce', 'runtimeClassNames', guards);
}

/** The texts in the list of a setting. */
export function settingOf(guard: GuardName, setting: string, guards: Guards): readonly string[] {
  const { variables = [] } = policyOf(guard, guards)?.spec ?? {};
  const { expression = '' } = variables.find(({ name }) => name === setting) ?? {};
  return [...expression.matchAll(/['"]([^'"]+)['"]/g)].map(([, text = '']) => text);
}

const GROUP = '/apis/admissionregistration.k8s.io/v1';

/** Only those named like a guard: an overlay may have changed their labels. */
async function listNamed(get: Kube['get'], resource: string): Promise<readonly Admission[]> {
  const items = await listAll<Admission>(get, `${GROUP}/${resource}`, {});
  return items.filter(({ metadata, spec }) => guardIn(metadata.name) ?? guardIn(spec?.policyName));
}

/** One list after another, so that writes do not wait. */
export async function readGuards(get: Kube['get'], installation: InstalledAs): Promise<Guards> {
  const served = (resource: string) =>
    listNamed(get, resource).catch((error: unknown): readonly Admission[] => {
      // Kubernetes before 1.36 has no mutating policies.
      if (error instanceof KubeError && error.status === 404) return [];
      throw error;
    });
  const policies = await listNamed(get, 'validatingadmissionpolicies');
  const bindings = await listNamed(get, 'validatingadmissionpolicybindings');
  return {
    installation,
    policies: [...policies, ...(await served('mutatingadmissionpolicies'))],
    bindings: [...bindings, ...(await served('mutatingadmissionpolicybindings'))],
  };
}

/** The guards as they were read last. */
export type GuardState = {
  /** Whether a namespace requires gVisor. */
  readonly isRequired: boolean;
  readonly missing: readonly MissingGuard[];
  /** Absent if there are none. */
  readonly accepted?: readonly AcceptedGuard[];
  /** The RuntimeClasses among the guards. */
  readonly classes?: readonly string[];
  /** Namespaces that required gVisor within a day, and have no label any more. */
  readonly lifted?: readonly string[];
  /** Whether policies that the API server does not list may be in its files. */
  readonly fromFiles?: boolean;
  /** The rest is then as it was before. */
  readonly problem?: string;
};

/** Whether pods may run on the host's kernel, or as nothing, because of it. */
export function isCritical({ isRequired, missing }: GuardState): boolean {
  return (
    isRequired ||
    missing.some(({ guard }) => !['enforce', 'optional'].includes(guardNamed(guard)?.part ?? ''))
  );
}

const INTERVAL_MS = 15_000;
/** How long to wait for the settings. */
const UNKNOWN_MS = 500;
const DAY_MS = 86_400_000;
const MAX_REMEMBERED = 10_000;
const REQUIRE = 'gvisor-ready.dev/require';
const NAMESPACES = '/api/v1/namespaces';
const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';
const SELF = '/apis/authentication.k8s.io/v1/selfsubjectreviews';

export type GuardWatchOptions = ApiAccess & {
  /** Undefined until they are known. */
  readonly settings: () => AgentSettings | undefined;
  readonly fromFiles: boolean;
  readonly rest: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Monotonic, milliseconds. */
  readonly now: () => number;
};

/** Remembers guards, classes and namespaces that it has seen since the start. */
export class GuardWatch {
  readonly #options: GuardWatchOptions;
  readonly #seen = new Set<string>();
  readonly #classes = new Set<string>();
  /** When each namespace required gVisor last. */
  readonly #required = new Map<string, number>();
  #account: string | undefined;
  #state: GuardState | undefined;

  constructor(options: GuardWatchOptions) {
    this.#options = options;
  }

  /** Undefined before the first reading has ended. */
  get state(): GuardState | undefined {
    return this.#state;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (this.#options.settings() === undefined && !signal.aborted)
      await this.#options.rest(UNKNOWN_MS, signal);
    while (!signal.aborted) {
      const before = this.#state ?? { isRequired: false, missing: [] };
      const state = await this.#read(signal).catch((error: unknown) => {
        return { ...before, problem: errorLine(error) };
      });
      if (signal.aborted) return;
      this.#state = state;
      if (faultsIn(before) !== faultsIn(state))
        this.#options.log.warn(state, 'the guards that are missing have changed');
      await this.#options.rest(INTERVAL_MS, signal);
    }
  }

  async #read(signal: AbortSignal): Promise<GuardState> {
    const get = (path: string) => this.#options.kube.get(path, signal);
    const settings = this.#options.settings() ?? agentSettingsOf(undefined);
    this.#account ??= await this.#readAccount();
    const accounts = { agent: settings.account, fleet: this.#account };
    const { namespace } = this.#options;
    const guards = await readGuards(get, { namespace, accounts, mainHandler: settings.handlers[0] });
    const classes = await listAll<RuntimeClass>(get, CLASSES, {});
    const required = await listAll<Admission>(get, NAMESPACES, { labelSelector: `${REQUIRE}=true` });
    const isRequired = required.length > 0;
    const lifted = await this.#liftedAmong(required, get);
    const { fromFiles } = this.#options;
    const known = { hasFleet: true, isRequired, seen: this.#seen, fromFiles };
    const { missing, accepted } = judgeGuards(guards, known);
    const needs = { guards, settings, isRequired, seen: this.#classes };
    const { judged, faults } = missingClasses(classes, needs);
    for (const each of presentIn(guards)) if (each !== undefined) this.#seen.add(each);
    // A class that pods may name counts as long as they may.
    const named = namedClasses(guards);
    for (const { metadata } of classes)
      if (judged.includes(guardOf(metadata.name)) && !named.includes(metadata.name))
        this.#classes.add(metadata.name);
    return {
      isRequired,
      missing: [...missing, ...faults],
      ...(accepted.length > 0 && { accepted }),
      classes: judged,
      ...(lifted.length > 0 && { lifted }),
      ...(fromFiles && { fromFiles }),
    };
  }

  /** The controller's own service account; undefined outside of a cluster. */
  async #readAccount(): Promise<string | undefined> {
    const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
    const answer = (await this.#options.kube.post(SELF, review).catch(() => undefined)) as
      | SelfReview
      | undefined;
    const [, account] =
      /^system:serviceaccount:[^:]+:(.+)$/.exec(answer?.status?.userInfo?.username ?? '') ?? [];
    return account;
  }

  /** A namespace that is deleted is no fault, and one whose label says "false" or "audit" neither. */
  async #liftedAmong(required: readonly Admission[], get: Kube['get']): Promise<readonly string[]> {
    const nowMs = this.#options.now();
    for (const [name, atMs] of this.#required)
      if (nowMs - atMs > DAY_MS || this.#required.size > MAX_REMEMBERED) this.#required.delete(name);
    for (const { metadata } of required) this.#required.set(metadata.name, nowMs);
    if (this.#required.size === required.length) return [];
    const unlabelled = await listAll<Admission>(get, NAMESPACES, { labelSelector: `!${REQUIRE}` });
    return unlabelled.map(({ metadata }) => metadata.name).filter((name) => this.#required.has(name));
  }
}

/** Text to compare. */
function faultsIn({ missing, accepted, lifted, problem }: GuardState): string {
  return JSON.stringify({ missing, accepted, lifted, problem });
}

type SelfReview = { readonly status?: { readonly userInfo?: { readonly username?: string } } };

async function listAll<Item>(
  get: Kube['get'],
  path: string,
  query: Readonly<Record<string, string>>,
): Promise<readonly Item[]> {
  const items: Item[] = [];
  for await (const page of pagesOf<Item>(get, path, { ...query, limit: '500' }))
    items.push(...(page.items ?? []));
  return items;
}
