import { keysOf, OWN_KEYS } from '../report/node-object.ts';

/** What this module reads of a RuntimeClass. */
export type RuntimeClass = {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly handler: string;
  readonly scheduling?: {
    readonly nodeSelector?: Readonly<Record<string, string>>;
    readonly tolerations?: readonly { readonly key?: string; readonly effect?: string }[];
  };
};

export type ClassNeeds = {
  /** Those that the agents prove, the main one first. */
  readonly handlers: readonly [string, ...string[]];
  /** Whether a taint keeps pods from the nodes of a pool that are not proven. */
  readonly taints: boolean;
  /** Those that were installed with the agents, that of the main handler first; none if that is not known. */
  readonly installed: readonly string[];
  /** Those that pods may name where gVisor is required. */
  readonly named: readonly string[];
  /** Those that were there before, by name. */
  readonly seen: ReadonlySet<string>;
};

export type ClassFault = {
  readonly name: string;
  readonly effect: 'absent' | 'unproven' | 'unscoped';
  readonly danger: string;
};

/** The classes of manifests/, by handler. */
const CLASSES: Readonly<Record<string, string>> = { runsc: 'gvisor', 'runsc-kvm': 'gvisor-kvm' };

/**
 * The classes with which pods ask for gVisor, and what is wrong with them. A class of somebody else counts once pods may
 * name it where gVisor is required.
 */
export function judgeClasses(
  classes: readonly RuntimeClass[],
  { handlers, taints, installed, named, seen }: ClassNeeds,
): { readonly judged: readonly string[]; readonly faults: readonly ClassFault[] } {
  const [main] = handlers;
  const usual = installed[0] ?? CLASSES[main] ?? main;
  const needed = [...installed, ...named, ...seen];
  const known = [...Object.values(CLASSES), ...needed];
  const own = classes.filter(
    ({ metadata: { name, labels = {} } }) =>
      known.includes(name) || labels['app.kubernetes.io/name'] === 'gvisor-ready',
  );
  const hasMain = classes.some(({ handler }) => handler === main);
  const gone = [...new Set([...needed, ...(hasMain ? [] : [usual])])].filter((name) =>
    classes.every(({ metadata }) => metadata.name !== name),
  );
  return {
    judged: [...new Set([usual, ...gone, ...own.map(({ metadata }) => metadata.name)])],
    faults: [
      ...gone.map((name) => ({ name, effect: 'absent', danger: 'pods that name it are refused' }) as const),
      ...own.flatMap((each): ClassFault[] => {
        if (isScoped(each, { main, taints })) return [];
        const effect = handlers.includes(each.handler) ? 'unscoped' : 'unproven';
        return [{ name: each.metadata.name, effect, danger: 'its pods can run outside gVisor' }];
      }),
    ],
  };
}

/** Its pods go only to nodes where its handler is proven, whatever else is true of that handler. */
function isScoped(
  { handler, scheduling: { nodeSelector = {}, tolerations = [] } = {} }: RuntimeClass,
  { main, taints }: { readonly main: string; readonly taints: boolean },
): boolean {
  if (nodeSelector[keysOf(handler === main ? undefined : handler).ready] === 'true') return true;
  const tolerates = tolerations.some(
    ({ key = '', effect = '' }) => ['', OWN_KEYS.taint].includes(key) && ['', 'NoSchedule'].includes(effect),
  );
  return handler === main && taints && !tolerates && Object.keys(nodeSelector).length > 0;
}
