import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { COMPATIBILITY, FEATURES, type Feature } from '../kubectl/pods/features.ts';
import { REPO } from './paths.ts';

/** A table of what manifests tell, and one of what they do not. */
export function compatibilityTables(): readonly string[] {
  return [
    tableOf(FEATURES.filter(({ asks }) => asks !== undefined)),
    tableOf(FEATURES.filter(({ asks }) => asks === undefined)),
  ];
}

/** A row for each feature: its effect, the runtimes that differ, and what a user sees. */
function tableOf(features: readonly Feature[]): string {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rows = features.map(({ field, effect, except = {}, seen, remedy = '' }) => {
    const others = Object.entries(except).map(([runtime, other]) => `${other} (${runtime})`);
    return row([field, [effect, ...others].join(', '), `${seen} ${remedy}`.trim()]);
  });
  const head = ['a pod with', 'in gVisor', ''];
  return [row(head), row(head.map(() => '---')), ...rows].join('\n');
}

/** `day` is when the table was seen. */
export async function writeCompatibility(day: string): Promise<void> {
  const file = join(REPO, COMPATIBILITY);
  const dated = (await readFile(file, 'utf8')).replace(/(?<=Seen on )\S+(?=,)/, day);
  const tables = [...compatibilityTables()];
  await writeFile(
    file,
    dated.replace(/^\| a pod with .*\n(^\|.*\n)+/gm, () => `${tables.shift()}\n`),
  );
}
