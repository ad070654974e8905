import { editsOfExpression } from './cel.ts';

/** An API object to mutate. */
export type Policy = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly [field: string]: unknown;
};

/** An object with one edit. `id` describes the edit and is stable. */
export type Mutant = { readonly id: string; readonly object: Policy };

type Json = string | number | boolean | null | readonly Json[] | { readonly [field: string]: Json };
type Step = string | number;
type Edit = { readonly what: string; readonly value: Json | undefined };

/** All single edits of an object: of expressions, and of rules and fields changed or removed. */
export function mutantsOf(policy: Policy): Mutant[] {
  const { apiVersion, kind, metadata, ...rest } = policy;
  const mutants = Object.keys(rest).flatMap((field) =>
    walk(rest[field] as Json, [field]).map(({ path, what, value }) => ({
      id: `${kind}/${metadata.name} ${pathText(rest as unknown as Json, path)}: ${what}`,
      object: write(
        { apiVersion, kind, metadata, ...rest } as unknown as Json,
        path,
        value,
      ) as unknown as Policy,
    })),
  );
  // Equal edits at two positions of an expression are two mutants.
  const times = new Map<string, number>();
  return mutants.map(({ id, object }) => {
    const time = (times.get(id) ?? 0) + 1;
    times.set(id, time);
    return { id: time === 1 ? id : `${id} (${time})`, object };
  });
}

/** A path as text, with the names of list elements instead of indices if they have one. */
function pathText(value: Json, path: readonly Step[]): string {
  const steps: Step[] = [];
  let here = value;
  for (const step of path) {
    here = (here as Record<Step, Json>)[step] ?? null;
    const name = typeof here === 'object' && here !== null && 'name' in here ? here.name : step;
    steps.push(`${name}`);
  }
  return steps.join('.');
}

function walk(value: Json, path: readonly Step[]): readonly (Edit & { readonly path: readonly Step[] })[] {
  const here = editsOf(value, path).map((edit) => ({ ...edit, path }));
  if (Array.isArray(value)) {
    return [...here, ...value.flatMap((one: Json, index) => walk(one, [...path, index]))];
  }
  if (typeof value !== 'object' || value === null) return here;
  return [...here, ...Object.entries(value).flatMap(([key, one]) => walk(one, [...path, key]))];
}

/** Alternative values of enums. */
const ALTERNATIVES: Readonly<Record<string, string>> = {
  Fail: 'Ignore',
  Ignore: 'Fail',
  IfNeeded: 'Never',
  Forbidden: 'Invalid',
};
/** Fields without effect on decisions. Messages are compared with the docs by `test/docs/admission.test.ts`. */
const IGNORED_FIELDS = [
  'name',
  'message',
  'messageExpression',
  'policyName',
  'patchType',
  'matchPolicy',
  'scope',
  'apiVersions',
];
/** Optional fields, which can be removed. */
const OPTIONAL = ['resourceRules', 'namespaceSelector', 'matchConditions', 'matchLabels'];

function editsOf(value: Json, path: readonly Step[]): readonly Edit[] {
  const field = path.at(-1);
  const list = path.at(-2);
  if (IGNORED_FIELDS.includes(`${field}`) || IGNORED_FIELDS.includes(`${list}`)) return [];
  if (field === 'expression') {
    return editsOfExpression(value as string).map(({ what, text }) => ({ what, value: text }));
  }
  if (field === 'validationActions') {
    return [['Deny'], ['Warn'], ['Audit'], ['Warn', 'Audit']]
      .filter((actions) => `${actions}` !== `${value}`)
      .map((actions) => ({ what: `${value} to ${actions}`, value: actions }));
  }
  if (list === 'validationActions') return [];
  const removed: Edit = {
    what: `without ${typeof value === 'string' ? `"${value}"` : 'it'}`,
    value: undefined,
  };
  if (typeof field === 'number') return list === 'variables' || list === 'mutations' ? [] : [removed];
  if (OPTIONAL.includes(`${field}`)) return JSON.stringify(value) === '{}' ? [] : [removed]; // the API server's default
  if (typeof value !== 'string') return [];
  const by = ALTERNATIVES[value] ?? `${value}x`;
  return [{ what: `"${value}" to "${by}"`, value: by }];
}

/** A copy of the object with another value at a path; undefined removes it. */
function write(object: Json, path: readonly Step[], value: Json | undefined): Json {
  const copy = structuredClone(object) as Json;
  let parent = copy as Record<Step, Json>;
  for (const step of path.slice(0, -1)) parent = parent[step] as Record<Step, Json>;
  const last = path.at(-1) ?? '';
  if (value !== undefined) parent[last] = value;
  else if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else delete parent[last];
  return copy;
}
