import { removeCluster } from '../../cluster/remove.ts';
import { AUDIT_GROUPS } from '../e2e/admission-audit-cases.ts';
import type { Case, Group } from '../e2e/admission-case.ts';
import { type Admission, startAdmission } from '../e2e/admission-cluster.ts';
import { ENFORCE_GROUPS } from '../e2e/admission-enforce-cases.ts';
import { INJECT_GROUPS } from '../e2e/admission-inject-cases.ts';
import { settle } from '../e2e/admission-settle.ts';
import { laneCluster } from '../lane.ts';
import { type Mutant, mutantsOf, type Policy } from './mutants.ts';
import { SURVIVORS } from './survivors.ts';

/**
 * Changes one thing at a time in the policies of the component `enforce`, and in what `enforce-audit` and `inject` make of
 * them, on a real API server, and runs the cases of the tests until one fails. Fails when a mutant survives that
 * `survivors.ts` does not explain. By hand, some twenty minutes: `npm run mutate`, or `npm run mutate -- PATTERN` for
 * mutants whose id matches.
 */
const CONFIGURATIONS: readonly {
  readonly components: readonly string[];
  readonly groups: readonly Group[];
}[] = [
  {
    components: ['enforce'],
    groups: ENFORCE_GROUPS,
  },
  { components: ['enforce', 'enforce-audit'], groups: AUDIT_GROUPS },
  { components: ['enforce', 'inject'], groups: INJECT_GROUPS },
];
const RESOURCES = [
  'admissionregistration.k8s.io/v1/validatingadmissionpolicies',
  'admissionregistration.k8s.io/v1/validatingadmissionpolicybindings',
  'admissionregistration.k8s.io/v1/mutatingadmissionpolicies',
  'admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings',
  'rbac.authorization.k8s.io/v1/clusterroles',
];
const SELECTOR = '?labelSelector=app.kubernetes.io%2Fcomponent+in+(enforce,inject)';

process.exitCode = await main(process.argv[2] ?? '');

async function main(word: string): Promise<number> {
  const survived = new Set<string>();
  const killed = new Set<string>();
  try {
    for (const { components, groups } of CONFIGURATIONS) {
      const admission = await startAdmission(components);
      const cases = groups.flatMap((group) => group.cases);
      const failing = await firstFailure(admission, cases);
      if (failing !== undefined) throw new Error(`Without a mutant "${failing}" fails already`);
      const isFirst = components.length === 1;
      for (const original of await policiesOf(admission)) {
        for (const mutant of mutantsOf(original.policy)) {
          const { id } = mutant;
          if (killed.has(id) || !new RegExp(word).test(id)) continue;
          const outcome = await tryMutant(admission, original, mutant, cases);
          console.log(`${outcome.padEnd(9)} ${isFirst ? '' : `(${components.at(-1)}) `}${id}`);
          (outcome === 'SURVIVED' ? survived : killed).add(id);
          if (outcome !== 'SURVIVED') survived.delete(id);
        }
        await replace(admission, original, original.policy);
      }
      const broken = await firstFailure(admission, cases);
      if (broken !== undefined) throw new Error(`The mutants left something behind: "${broken}" fails`);
      await removeCluster(await laneCluster('admission'));
    }
  } finally {
    await removeCluster(await laneCluster('admission'));
  }
  return report([...survived], word === '');
}

/** Says which mutants survived and why that does not matter; 1 when one is not explained, or an explanation is old. */
function report(survived: readonly string[], isWhole: boolean): number {
  const unexplained = survived.filter((id) => SURVIVORS[id] === undefined);
  const old = isWhole ? Object.keys(SURVIVORS).filter((id) => !survived.includes(id)) : [];
  console.log(`\n${survived.length} survived, ${unexplained.length} without an explanation:`);
  for (const id of unexplained) console.log(`  ${id}`);
  for (const id of old) console.log(`  explained in survivors.ts, and killed or gone: ${id}`);
  return unexplained.length + old.length === 0 ? 0 : 1;
}

type Original = { readonly path: string; readonly policy: Policy };

/** The objects of the components as they are applied, without what the API server adds. */
async function policiesOf({ as }: Admission): Promise<Original[]> {
  const lists = await Promise.all(
    RESOURCES.map(async (resource) => {
      const { body } = await as('admin', { method: 'GET', path: `/apis/${resource}${SELECTOR}` });
      const { apiVersion, kind, items } = body as {
        readonly apiVersion: string;
        readonly kind: string;
        readonly items: readonly Policy[];
      };
      return items.map(({ metadata: { name }, status: _, ...rest }) => ({
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
): Promise<'killed' | 'stillborn' | 'SURVIVED'> {
  if (!(await replace(admission, original, object))) return 'stillborn';
  return (await firstFailure(admission, cases)) === undefined ? 'SURVIVED' : 'killed';
}

/** Puts an object in the place of another, and waits until it is in force; false when the API server rejects it. */
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
  await settle(admission, path.includes('mutating') ? ['mutating'] : ['validating']);
  return true;
}

/** Runs cases until one fails, several at a time, and then those that must be alone; what failed runs first the next time. */
async function firstFailure(admission: Admission, cases: Case[]): Promise<string | undefined> {
  const failed =
    (await firstOf(
      admission,
      cases.filter(({ alone }) => !alone),
      8,
    )) ??
    (await firstOf(
      admission,
      cases.filter(({ alone }) => alone),
      1,
    ));
  if (failed === undefined) return undefined;
  cases.splice(cases.indexOf(failed), 1);
  cases.unshift(failed);
  return failed.what;
}

async function firstOf(admission: Admission, waiting: Case[], atOnce: number): Promise<Case | undefined> {
  let failed: Case | undefined;
  const worker = async () => {
    for (let one = waiting.shift(); one !== undefined && failed === undefined; one = waiting.shift()) {
      const { run } = one;
      const passed = await run(admission).then(
        () => true,
        () => false,
      );
      if (!passed) failed ??= one;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return failed;
}
