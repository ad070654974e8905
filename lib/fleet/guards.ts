import { errorLine } from '../base/sanitize.ts';
import { VERSION } from '../base/version.ts';
import type { Kube } from '../kube/client.ts';
import { KubeError } from '../kube/error.ts';
import { pagesOf } from '../kube/pages.ts';
import TABLE from './guards.json' with { type: 'json' };
import type { ApiAccess } from './informers.ts';

/** An admission policy of manifests/, with its bindings. */
type Guard = {
  /**
   * `base` and `fleet` come with agents and controller; `enforce` must be there if a namespace requires
   * gVisor.
   */
  readonly part: 'base' | 'fleet' | 'enforce' | 'optional';
  /** Possible without it. */
  readonly danger: string;
  /** The bindings that must deny; by default one with the policy's name. */
  readonly bindings?: readonly string[];
};

/** Every policy of manifests/, but that of what gVisor refuses, which only warns. */
export const GUARDS = TABLE as Readonly<Record<string, Guard>>;

export const EFFECTS = {
  absent: 'is not installed',
  unbound: 'has no binding that denies',
  warns: 'only warns',
  changed: `is not that of version ${VERSION}`,
  denies: 'denies',
} as const;
type Effect = keyof typeof EFFECTS;

type Named = {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
};
/** Only what is read of a policy. */
export type Policy = Named & {
  readonly spec?: {
    readonly failurePolicy?: string;
    readonly variables?: readonly { readonly name: string; readonly expression: string }[];
  };
};
type Binding = Named & {
  readonly spec?: { readonly policyName?: string; readonly validationActions?: readonly string[] };
};

/** Validating and mutating ones. */
export type Guards = {
  /** Policies must have it; the plugin, whose version may differ, gives none. */
  readonly version?: string;
  readonly policies: readonly Policy[];
  readonly bindings: readonly Binding[];
};

export type MissingGuard = { readonly guard: string; readonly effect: Effect; readonly danger: string };

/** The longest in a name, which may have a prefix and a suffix of a kustomization. */
function guardIn(name = ''): string | undefined {
  const found = Object.keys(GUARDS).filter((each) => name.includes(each));
  return found.sort((a, b) => b.length - a.length)[0];
}

export function policyOf(guard: string, { policies }: Guards): Policy | undefined {
  return policies.find(({ metadata }) => guardIn(metadata.name) === guard);
}

/** A policy that warns on purpose ignores failures as well. */
export function effectOf(guard: string, guards: Guards): Effect {
  const policy = policyOf(guard, guards);
  if (policy === undefined) return 'absent';
  if (!bindingsOf(guard, guards, 'Deny').includes(undefined))
    return [undefined, policy.metadata.labels?.['app.kubernetes.io/version']].includes(guards.version)
      ? 'denies'
      : 'changed';
  const isWarning = !bindingsOf(guard, guards, 'Warn').includes(undefined);
  return isWarning && policy.spec?.failurePolicy === 'Ignore' ? 'warns' : 'unbound';
}

/** In the order of the table; undefined for a binding that is missing. */
function bindingsOf(guard: string, guards: Guards, action: string): readonly (Binding | undefined)[] {
  const policyName = policyOf(guard, guards)?.metadata.name;
  // The binding of a mutating policy has no actions.
  const found = guards.bindings.filter(
    ({ spec }) => spec?.policyName === policyName && (spec?.validationActions?.includes(action) ?? true),
  );
  const { bindings: names = [guard] } = GUARDS[guard] ?? {};
  return names.map((name) => found.find(({ metadata }) => metadata.name.includes(name)));
}

function presentIn({ policies, bindings }: Guards): ReadonlySet<string | undefined> {
  return new Set([
    ...policies.map(({ metadata }) => guardIn(metadata.name)),
    ...bindings.map(({ spec }) => guardIn(spec?.policyName)),
  ]);
}

/** Facts that decide which guards must be there. */
type Needs = {
  readonly hasFleet: boolean;
  /** Whether a namespace requires gVisor. */
  readonly isRequired: boolean;
  /** Guards that were there before. */
  readonly seen?: ReadonlySet<string>;
};

/** Also guards of which only a part is there, and those that have gone. */
export function missingGuards(
  guards: Guards,
  { hasFleet, isRequired, seen }: Needs,
): readonly MissingGuard[] {
  const present = presentIn(guards);
  const isNeeded = (guard: string, part: Guard['part']) =>
    part === 'base' ||
    (part === 'fleet' && hasFleet) ||
    (isRequired && (part === 'enforce' || seen?.has(guard))) ||
    present.has(guard);
  return Object.entries(GUARDS).flatMap(([guard, { part, danger }]) => {
    const effect = effectOf(guard, guards);
    // A component lets the policies of enforcement warn alone.
    const isInForce = effect === 'denies' || (effect === 'warns' && part !== 'base' && part !== 'fleet');
    return isInForce || !isNeeded(guard, part) ? [] : [{ guard, effect, danger }];
  });
}

export function describeMissing({ guard, effect, danger }: MissingGuard): string {
  return `${guard} ${EFFECTS[effect]}: ${danger}`;
}

const GROUP = '/apis/admissionregistration.k8s.io/v1';
const OWN = { labelSelector: 'app.kubernetes.io/name=gvisor-ready', limit: '100' };

async function listOwn<Item>(get: Kube['get'], path: string): Promise<readonly Item[]> {
  const items: Item[] = [];
  for await (const page of pagesOf<Item>(get, path, OWN)) items.push(...(page.items ?? []));
  return items;
}

/** One list after another, so that writes do not wait. */
export async function readGuards(get: Kube['get']): Promise<Guards> {
  const list = <Item>(resource: string) => listOwn<Item>(get, `${GROUP}/${resource}`);
  const served = <Item>(resource: string) =>
    list<Item>(resource).catch((error: unknown): readonly Item[] => {
      // Kubernetes before 1.36 has no mutating policies.
      if (error instanceof KubeError && error.status === 404) return [];
      throw error;
    });
  const policies = await list<Policy>('validatingadmissionpolicies');
  const bindings = await list<Binding>('validatingadmissionpolicybindings');
  return {
    policies: [...policies, ...(await served<Policy>('mutatingadmissionpolicies'))],
    bindings: [...bindings, ...(await served<Binding>('mutatingadmissionpolicybindings'))],
  };
}

/** The guards as they were read last. */
export type GuardState = {
  /** Whether a namespace requires gVisor. */
  readonly isRequired: boolean;
  readonly missing: readonly MissingGuard[];
  /** The rest is then as it was before. */
  readonly problem?: string;
};

const INTERVAL_MS = 15_000;
const REQUIRED = '/api/v1/namespaces?labelSelector=gvisor-ready.dev%2Frequire%3Dtrue&limit=1';
const CLASSES = '/apis/node.k8s.io/v1/runtimeclasses';

/** Remembers the guards that were in force at any time since the start. */
export class GuardWatch {
  readonly #api: ApiAccess;
  readonly #seen = new Set<string>();
  #state: GuardState | undefined;

  constructor(api: ApiAccess) {
    this.#api = api;
  }

  /** Undefined before the first reading has ended. */
  get state(): GuardState | undefined {
    return this.#state;
  }

  async run(rest: (ms: number, signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const before = this.#state ?? { isRequired: false, missing: [] };
      const state = await this.#read(signal).catch((error: unknown) => {
        return { ...before, problem: errorLine(error) };
      });
      if (signal.aborted) return;
      this.#state = state;
      const [was, is] = [before, state].map(({ isRequired: _, ...rest }) => JSON.stringify(rest));
      if (was !== is) this.#api.log.warn(state, 'the admission policies that are missing have changed');
      await rest(INTERVAL_MS, signal);
    }
  }

  async #read(signal: AbortSignal): Promise<GuardState> {
    const get = (path: string) => this.#api.kube.get(path, signal);
    const guards = { version: VERSION, ...(await readGuards(get)) };
    const classes = (await listOwn<Named>(get, CLASSES)).map(
      ({ metadata }) => `runtimeclass/${metadata.name}`,
    );
    const { items } = (await get(REQUIRED)) as { readonly items: readonly unknown[] };
    const isRequired = items.length > 0;
    const gone = [...this.#seen].filter(
      (each) => each.startsWith('runtimeclass/') && !classes.includes(each),
    );
    const missing = [
      ...missingGuards(guards, { hasFleet: true, isRequired, seen: this.#seen }),
      ...(isRequired ? gone : []).map((guard): MissingGuard => {
        return { guard, effect: 'absent', danger: 'pods that name it are refused' };
      }),
    ];
    for (const each of [...presentIn(guards), ...classes]) if (each !== undefined) this.#seen.add(each);
    return { isRequired, missing };
  }
}
