import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';
import { RULES } from '../../hack/prometheus-rules.ts';

/** An alerting rule in a rules file. */
export type AlertRule = {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly keep_firing_for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
};

export type RuleFile = {
  readonly groups: readonly { readonly name: string; readonly rules: readonly AlertRule[] }[];
};

/** The rules files of components by path. */
export async function ruleFiles(
  rules: Readonly<Record<string, string>> = RULES,
): Promise<ReadonlyMap<string, RuleFile>> {
  const paths = Object.keys(rules).map((directory) => `${directory}/rules.yaml`);
  return new Map(
    await Promise.all(
      paths.map(async (path) => [path, parse(await readFile(join(REPO, path), 'utf8')) as RuleFile] as const),
    ),
  );
}

export function alertsOf(files: ReadonlyMap<string, RuleFile>): readonly AlertRule[] {
  return [...files.values()].flatMap(({ groups }) => groups.flatMap(({ rules }) => rules));
}
