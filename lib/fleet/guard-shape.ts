import { createHash } from 'node:crypto';

/** What an admission policy or binding has, as far as this module reads it. */
export type Admission = {
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: AdmissionSpec;
};

type Expression = { readonly name?: string; readonly expression?: string };
export type AdmissionSpec = {
  /** Of a binding. */
  readonly policyName?: string;
  readonly validationActions?: readonly string[];
  readonly variables?: readonly Expression[];
  readonly validations?: readonly Expression[];
  readonly matchConditions?: readonly Expression[];
  readonly mutations?: readonly unknown[];
};

/** What differs between installations, and stands in the expressions of policies. */
export type InstalledAs = {
  readonly namespace: string;
  /** Names of the service accounts; one that is not known may be any of the manifests' pattern. */
  readonly accounts: { readonly agent?: string | undefined; readonly fleet?: string | undefined };
  /** The first of the agents' handlers; any if it is not known. */
  readonly mainHandler?: string;
};

/** A digest of each aspect of a spec. Specs of the same shape let the same requests through. */
export type Shape = Readonly<Record<string, string>>;

/** Variables that users may set to any literal: docs/admission.md. */
const SETTINGS: readonly string[] = [
  'allow',
  'egress',
  'hostPorts',
  'injects',
  'mainHandler',
  'poolLabels',
  'runtimeClassNames',
  'taints',
];
const TEXT = String.raw`'[^'\\]+'|"[^"\\]+"`;
const LITERAL = new RegExp(`^(true|false|${TEXT}|\\[ ?((${TEXT}|\\d+)(, ?|(?= ?\\])))* ?\\])$`);

/** What the API server adds to a spec that does not say it. */
const DEFAULTS: Readonly<Record<string, string>> = {
  failurePolicy: 'Fail',
  matchPolicy: 'Equivalent',
  reinvocationPolicy: 'Never',
  scope: '*',
};

/** Conditions that name the service account whose writes are checked. */
const ACCOUNTS = {
  'written-by-an-agent': ['agent', 'gvisor-ready-agent'],
  'written-by-the-fleet-controller': ['fleet', 'gvisor-ready-fleet'],
} as const;
/** Expressions that exempt the namespace of the installation. */
const NAMESPACED: readonly string[] = ['not-in-a-namespace-of-the-system', 'isOfTheSystem'];

/**
 * Messages and audit annotations are left out, because they let nothing through. So is a binding's policy, which is the one
 * that the binding was found by.
 */
export function shapeOf({ spec = {} }: Admission, installation: InstalledAs): Shape {
  const { policyName: _, validationActions, variables, validations, ...rest } = spec;
  const { matchConditions, mutations } = rest;
  const whole: Readonly<Record<string, unknown>> = {
    ...rest,
    auditAnnotations: undefined,
    matchConditions: matchConditions?.map((each) => expressionOf(each, installation)),
    mutations: mutations && withoutClass(mutations),
    validationActions: validationActions?.includes('Deny') ? ['Deny'] : validationActions,
  };
  const isHandler = (name: string, expression: string) =>
    name !== 'mainHandler' || expression === `'${installation.mainHandler ?? expression.slice(1, -1)}'`;
  const named = (variables ?? []).map((each) => {
    const { name, expression } = expressionOf(each, installation);
    const isSetting = SETTINGS.includes(name) && LITERAL.test(expression) && isHandler(name, expression);
    return [`variables.${name}`, isSetting ? 'any' : digestOf(expression)] as const;
  });
  const digests = (validations ?? []).map(({ expression }) => digestOf(normalize(expression)));
  return Object.fromEntries([
    ...Object.entries(whole).flatMap(([aspect, value]) => {
      const normal = normalize({ [aspect]: value });
      return normal === undefined ? [] : [[aspect, digestOf(normal)] as const];
    }),
    ...named,
    ...digests.map((digest) => [`validations.${digest}`, digest] as const),
  ]);
}

/** The aspects in which a spec differs from that of the manifests. Variables and validations that are added only refuse more. */
export function differences(expected: Shape, found: Shape): readonly string[] {
  const added = Object.keys(found).filter(
    (aspect) => !(aspect in expected) && !/^(variables|validations)\./.test(aspect),
  );
  const changed = Object.keys(expected).filter((aspect) => expected[aspect] !== found[aspect]);
  const names = [...changed, ...added].map((aspect) => aspect.replace(/^validations\..*/, 'validations'));
  return [...new Set(names)].sort();
}

/** The digest that an annotation must have to accept this shape. */
export function digestOf(value: unknown): string {
  const text = JSON.stringify(value, (_, each: unknown) => (isObject(each) ? sorted(each) : each));
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function expressionOf({ name = '', expression = '' }: Expression, { namespace, accounts }: InstalledAs) {
  const text = `${normalize(expression) ?? ''}`;
  if (NAMESPACED.includes(name))
    return { name, expression: text.replaceAll(`'${namespace}'`, '<namespace>') };
  const [whose, usual] = ACCOUNTS[name as keyof typeof ACCOUNTS] ?? [];
  if (whose === undefined) return { name, expression: text };
  const account = accounts[whose] ?? usual;
  const any = `request.userInfo.username.matches('^system:serviceaccount:[^:]+:[^:]*${usual}[^:]*$')`;
  const one = `request.userInfo.username == 'system:serviceaccount:${namespace}:${account}'`;
  const isOurs = text === one || (text === any && account.includes(usual));
  return { name, expression: isOurs ? '<account>' : text };
}

/** Without the class that is injected: the other policies refuse one that may not be named. */
function withoutClass(mutations: readonly unknown[]): unknown {
  return JSON.parse(JSON.stringify(mutations).replaceAll(/runtimeClassName: '[^'\\]*'/g, 'runtimeClassName'));
}

/** As the API server would store it, without what it adds by itself; undefined if nothing is left. */
function normalize(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll(/\s+/g, ' ').trim();
  if (Array.isArray(value)) {
    const items = value.map(normalize).filter((each) => each !== undefined);
    return items.length === 0 ? undefined : items.sort((a, b) => (digestOf(a) < digestOf(b) ? -1 : 1));
  }
  if (!isObject(value)) return value ?? undefined;
  const entries = Object.entries(value)
    .map(([key, each]) => [key, normalize(each)] as const)
    .filter(([key, each]) => each !== undefined && DEFAULTS[key] !== each);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function sorted(value: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
