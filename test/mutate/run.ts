import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { removeCluster, removeHeldCluster } from '../../cluster/remove.ts';
import { REPO } from '../../hack/paths.ts';
import { untilStopped } from '../../hack/run.ts';
import { pooledMap } from '../../lib/base/async.ts';
import type { Case } from '../api/admission-case.ts';
import { type Admission, startAdmission } from '../api/admission-cluster.ts';
import { CASES } from '../api/case-groups.ts';
import { startWriters } from '../api/node-writers.ts';
import { waitForPolicies } from '../api/wait-for-policies.ts';
import { laneCluster } from '../runner/lane.ts';
import { type Mutant, mutantsOf, type Policy } from './mutants.ts';
import { mutateWiring } from './wiring.ts';

/**
 * Mutation tests of the admission policies in `manifests/` on a real API server: applies one edit at a time and runs test cases
 * until one fails. Fails if a mutant survives without an explanation in `survivors.yaml`. Then come the edits of
 * {@link mutateWiring}. Usage: `npm run mutate`, `npm run mutate -- base` for one configuration, `npm run mutate -- wiring`,
 * `npm run mutate -- base PATTERN` for matching mutant IDs.
 */
const ENFORCED = /\/gvisor-ready-(enforce|guard|inject|requirement)/;
const CONFIGURATIONS: readonly Configuration[] = [
  {
    title: 'base',
    start: () => startWriters([]),
    policies: /^V.*\/gvisor-ready-(agent|node|pods|fleet)/,
  },
  {
    title: 'taint',
    start: () => startWriters(['taint']),
    policies: /^V.*\/gvisor-ready-(agent|fleet)$/,
  },
  { title: 'enforce', start: () => startAdmission(['enforce']), policies: ENFORCED },
  {
    title: 'enforce-bindings',
    start: () => startAdmission(['enforce', 'enforce-bindings']),
    policies: /-enforce-bindings$/,
  },
  {
    title: 'enforce-audit',
    start: () => startAdmission(['enforce', 'enforce-bindings', 'enforce-audit']),
    policies: ENFORCED,
  },
  { title: 'inject', start: () => startAdmission(['enforce', 'inject']), policies: ENFORCED },
];
type Configuration = {
  readonly title: keyof typeof CASES;
  readonly start: () => Promise<Admission>;
  /** Matches KIND/NAME of the objects to mutate. */
  readonly policies: RegExp;
};
const RESOURCES = [
  'admissionregistration.k8s.io/v1/validatingadmissionpolicies',
  'admissionregistration.k8s.io/v1/validatingadmissionpolicybindings',
  'admissionregistration.k8s.io/v1/mutatingadmissionpolicies',
  'admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings',
  'rbac.authorization.k8s.io/v1/clusterroles',
];

/** Surviving mutants by ID; the file has the reasons for which they are equivalent. */
const EXPLAINED = Object.values(
  parse(readFileSync(join(import.meta.dirname, 'survivors.yaml'), 'utf8')) as Record<string, string[]>,
).flat();

const PURPOSES = ['api', 'admission'];
const ended = await Promise.race([main(process.argv[2] ?? '', process.argv[3] ?? ''), untilStopped()]);
if (ended === 'stopped') {
  for (const purpose of PURPOSES) await removeHeldCluster(await laneCluster(purpose));
  process.exit(130); // ends the case that is running
}
process.exitCode = ended;

async function main(only: string, pattern: string): Promise<number> {
  const outcomes = new Map<string, Outcome>();
  for (const { title, start, policies } of CONFIGURATIONS) {
    if (only !== '' && only !== title) continue;
    try {
      const admission = await start();
      const cases = CASES[title].flatMap((group) => group.cases);
      const failing = await firstFailure(admission, cases);
      if (failing !== undefined) throw new Error(`Without a mutant "${failing}" fails already`);
      for (const original of await policiesOf(admission, policies)) {
        for (const mutant of mutantsOf(original.policy)) {
          const { id } = mutant;
          if (outcomes.get(id) === 'killed' || !new RegExp(pattern).test(id)) continue;
          const outcome = await tryMutant(admission, original, mutant, cases);
          console.log(`${outcome.padEnd(9)} (${title}) ${id}`);
          outcomes.set(id, outcome);
        }
        await replace(admission, original, original.policy);
      }
      const broken = await firstFailure(admission, cases);
      if (broken !== undefined) throw new Error(`"${broken}" fails after the mutants were reverted`);
    } finally {
      for (const purpose of PURPOSES) await removeCluster(await laneCluster(purpose));
    }
  }
  const policies = only === 'wiring' ? 0 : report(outcomes, only === '');
  const wiring = only === '' || only === 'wiring' ? await mutateWiring(pattern) : 0;
  return Math.max(policies, wiring);
}

/** Prints killed and surviving mutants; returns 1 if a survivor is unexplained or an explanation is stale. */
function report(outcomes: ReadonlyMap<string, Outcome>, isWhole: boolean): number {
  const all = [...outcomes].filter(([, outcome]) => outcome !== 'stillborn');
  const survived = all.filter(([, outcome]) => outcome === 'SURVIVED').map(([id]) => id);
  const policyOf = (id: string) => id.split(' ')[0] ?? '';
  console.log();
  for (const policy of new Set(all.map(([id]) => policyOf(id)))) {
    const of = all.filter(([id]) => policyOf(id) === policy);
    const killed = of.filter(([, outcome]) => outcome === 'killed').length;
    console.log(`${policy}: ${killed} of ${of.length} killed`);
  }
  const unexplained = survived.filter((id) => !EXPLAINED.includes(id));
  const stale = isWhole ? EXPLAINED.filter((id) => !survived.includes(id)) : [];
  console.log(`\n${survived.length} survived, ${unexplained.length} without an explanation:`);
  for (const id of unexplained) console.log(`  ${id}`);
  for (const id of stale) console.log(`  explained in survivors.yaml, and killed or gone: ${id}`);
  const unconfigured = isWhole
    ? policiesInManifests().filter((id) => !all.some(([each]) => policyOf(each) === id))
    : [];
  for (const id of unconfigured) console.log(`  in manifests/, and in no configuration here: ${id}`);
  return unexplained.length + stale.length + unconfigured.length === 0 ? 0 : 1;
}

/** KIND/NAME of every admission policy in `manifests/`, but of the one that only warns. */
function policiesInManifests(): readonly string[] {
  const files = globSync('manifests/**/*.yaml', { cwd: REPO });
  const objects = files.flatMap((file) => parseAllDocuments(readFileSync(join(REPO, file), 'utf8')));
  return objects
    .map((document) => document.toJS() as Partial<Policy> | null)
    .filter((object) => object?.kind?.endsWith('AdmissionPolicy') ?? false)
    .filter((object) => object?.metadata?.name !== 'gvisor-ready-compatibility')
    .map((object) => `${object?.kind}/${object?.metadata?.name}`);
}

type Outcome = 'killed' | 'stillborn' | 'SURVIVED';
type Original = { readonly path: string; readonly policy: Policy };

/** The applied objects of the components, without fields of the API server. */
async function policiesOf({ as }: Admission, policies: RegExp): Promise<Original[]> {
  const lists = await Promise.all(
    RESOURCES.map(async (resource) => {
      const { body } = await as('admin', { method: 'GET', path: `/apis/${resource}` });
      const { apiVersion, kind, items } = body as {
        readonly apiVersion: string;
        readonly kind: string;
        readonly items: readonly Policy[];
      };
      const own = items.filter(({ metadata }) =>
        policies.test(`${kind.replace(/List$/, '')}/${metadata.name}`),
      );
      return own.map(({ metadata: { name }, status: _, ...rest }) => ({
        path: `/apis/${resource}/${name}`,
        policy: { ...rest, apiVersion, kind: kind.replace(/List$/, ''), metadata: { name } },
      }));
    }),
  );
  return lists.flat();
}

async function tryMutant(
  admission: Admission,
  original: Original,
  { object }: Mutant,
  cases: Case[],
): Promise<Outcome> {
  if (!(await replace(admission, original, object))) return 'stillborn';
  return (await firstFailure(admission, cases)) === undefined ? 'SURVIVED' : 'killed';
}

/** Replaces an object and waits until it is in force; returns false if the API server rejects it. */
async function replace(admission: Admission, original: Original, policy: Policy): Promise<boolean> {
  const { path } = original;
  const { body: now } = await admission.as('admin', { method: 'GET', path });
  const { metadata } = now as { readonly metadata: object };
  const { code, message } = await admission.as('admin', {
    method: 'PUT',
    path,
    body: { ...policy, metadata },
  });
  if (code === 422 || code === 400) return false;
  if (code === 409) return replace(admission, original, policy); // a controller wrote its status meanwhile
  if (code !== 200) throw new Error(`Cannot write ${path}: ${message}`);
  await waitForPolicies(admission, path.includes('mutating') ? ['mutating'] : ['validating']);
  return true;
}

/** Runs cases until one fails: first concurrently, then exclusive ones. A case that failed runs first the next time. */
async function firstFailure(admission: Admission, cases: Case[]): Promise<string | undefined> {
  const concurrent = cases.filter(({ exclusive }) => !exclusive);
  const exclusive = cases.filter((each) => each.exclusive);
  const failed = (await firstOf(admission, concurrent, 8)) ?? (await firstOf(admission, exclusive, 1));
  if (failed === undefined) return undefined;
  cases.splice(cases.indexOf(failed), 1);
  cases.unshift(failed);
  return failed.what;
}

async function firstOf(
  admission: Admission,
  cases: readonly Case[],
  atOnce: number,
): Promise<Case | undefined> {
  let failed: Case | undefined;
  await pooledMap(cases, atOnce, async (one) => {
    if (failed !== undefined) return;
    await one.run(admission).catch(() => {
      failed ??= one;
    });
  });
  return failed;
}
