import { existsSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { UsageError } from '../../hack/run.ts';
import { type Extra, filesOf, STAGES, TIERS, type TierName } from './tiers.ts';

/** A tier with the files to run of it, or an extra step. */
export type PlanStep = { readonly name: TierName | Extra; readonly files: readonly string[] };

/** Stages of tracks of steps, see {@link STAGES}. */
export type Plan = readonly (readonly (readonly PlanStep[])[])[];

const NAMES = STAGES.flat(2);
const USAGE = `Name tiers (${NAMES.join(', ')}), directories or files under test/, or --failed, --all, --nightly.`;

export const HELP = `npm test [-- WORD...]

Without a word: ${STAGES[0]?.flat().join(', ')}.
  TIER           ${NAMES.join(', ')}
  DIRECTORY, FILE  under test/
  --all          also ${STAGES[1]?.flat().join(', ')}
  --nightly      everything
  --failed       the files that failed in the last run
  --record       keep durations and second tries of this run in test/runner/*.json
  --help

Variables: TEST_CLUSTERS=NAME prefix of the clusters, so that two runs do not share them; JUNIT=DIRECTORY one report a file.
`;

/**
 * The steps for command-line arguments: none for the quick tiers, `--all`, `--nightly`, `--failed`, or the names of
 * tiers, directories and files. `directory` is what relative paths start from.
 */
export function planOf(
  args: readonly string[],
  { root, directory, failed }: { root: string; directory: string; failed: readonly string[] },
): Plan {
  const chosen = new Map<string, Set<string>>();
  const choose = (name: TierName | Extra, files: readonly string[]) => {
    const known = chosen.get(name) ?? new Set();
    chosen.set(name, known);
    for (const file of files) known.add(file);
  };
  const chooseTier = (name: TierName | Extra) =>
    choose(name, name in TIERS ? filesOf(name as TierName, root) : []);
  const stages = { '--all': 2, '--nightly': 3 }[args[0] ?? ''] ?? (args.length === 0 ? 1 : 0);
  for (const name of STAGES.slice(0, stages).flat(2)) chooseTier(name);
  for (const arg of stages > 0 ? args.slice(1) : args) {
    const tier = NAMES.find((name) => name === arg);
    if (tier !== undefined) chooseTier(tier);
    else if (arg === '--failed')
      for (const [name, files] of byTier(
        failed.filter((file) => existsSync(join(root, file))),
        root,
      ))
        choose(name, files);
    else for (const [name, files] of byTier(filesUnder(arg, root, directory), root)) choose(name, files);
  }
  return STAGES.map((tracks) =>
    tracks
      .map((track) =>
        track
          .filter((name) => chosen.has(name))
          .map((name) => ({ name, files: [...(chosen.get(name) ?? [])].sort() })),
      )
      .filter((track) => track.length > 0),
  ).filter((tracks) => tracks.length > 0);
}

export function tiersLeftOut(plan: Plan): readonly string[] {
  const run = new Set<string>(plan.flat(2).map(({ name }) => name));
  return NAMES.filter((name) => !run.has(name));
}

function filesUnder(word: string, root: string, directory: string): readonly string[] {
  const path = [resolve(directory, word), join(root, word), join(root, 'test', word)].find(existsSync);
  if (path === undefined) throw new UsageError(`There is no "${word}". ${USAGE}`);
  const inside = relative(root, path);
  if (!statSync(path).isDirectory()) return [inside];
  const found = tierFiles(root)
    .flatMap(([, files]) => files)
    .filter((file) => file.startsWith(`${inside}${sep}`));
  if (found.length === 0) throw new UsageError(`There is no test file in "${word}". ${USAGE}`);
  return found;
}

function byTier(files: readonly string[], root: string): readonly (readonly [TierName, readonly string[]])[] {
  const found = tierFiles(root).map(
    ([name, own]) => [name, own.filter((file) => files.includes(file))] as const,
  );
  const stray = files.find((file) => !found.some(([, own]) => own.includes(file)));
  if (stray !== undefined) throw new UsageError(`"${stray}" is no test file of any tier. ${USAGE}`);
  return found.filter(([, own]) => own.length > 0);
}

function tierFiles(root: string): readonly (readonly [TierName, readonly string[]])[] {
  return (Object.keys(TIERS) as TierName[]).map((name) => [name, filesOf(name, root)]);
}
