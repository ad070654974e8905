import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';
import { MONITORING } from '../../hack/prometheus-rules.ts';

/** An alerting rule in a rules file. */
export type AlertRule = {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly keep_firing_for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
};
type RecordingRule = { readonly record: string; readonly expr: string };
export type Rule = AlertRule | RecordingRule;

export type RuleFile = {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
};

/** The rules that plain Prometheus loads. */
export async function readRules(): Promise<RuleFile> {
  return parse(await readFile(join(REPO, MONITORING, 'rules.yaml'), 'utf8')) as RuleFile;
}

export function alertsOf({ groups }: RuleFile): readonly AlertRule[] {
  return groups.flatMap(({ rules }) => rules.filter((rule) => 'alert' in rule));
}
