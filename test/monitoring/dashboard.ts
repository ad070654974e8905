import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';

export type Target = {
  readonly refId: string;
  readonly expr: string;
  readonly instant: boolean;
  readonly legendFormat?: string;
};

/** The fields of a panel that tests read. */
type Panel = {
  readonly type: string;
  readonly title: string;
  readonly targets: readonly Target[];
};

export async function panels(): Promise<readonly Panel[]> {
  const text = await readFile(join(REPO, 'manifests/components/monitoring/dashboard.json'), 'utf8');
  return (JSON.parse(text) as { readonly panels: readonly Panel[] }).panels;
}

/** Substitutes the dashboard's variables, with all clusters and nodes and intervals of a minute. */
export function substituted(expr: string): string {
  const values = { $cluster: '.*', $node: '.*', $__rate_interval: '1m', $__range: '1m' };
  const whole = Object.entries(values).reduce((text, [name, value]) => text.replaceAll(name, value), expr);
  if (whole.includes('$')) throw new Error(`Unknown dashboard variable in: ${expr}`);
  return whole;
}
