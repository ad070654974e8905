import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';

/** A query of a panel. */
export type Target = { readonly refId: string; readonly expr: string; readonly instant: boolean };

/** A panel, as far as its queries go. */
export type Panel = { readonly type: string; readonly title: string; readonly targets: readonly Target[] };

/** The panels of the dashboard. */
export async function panels(): Promise<readonly Panel[]> {
  const text = await readFile(join(REPO, 'manifests/components/monitoring/dashboard.json'), 'utf8');
  return (JSON.parse(text) as { readonly panels: readonly Panel[] }).panels;
}

/** An expression with the variables that Grafana fills in: all clusters and nodes, and a minute between points. */
export function filledIn(expr: string): string {
  const values = { $cluster: '.*', $node: '.*', $__rate_interval: '1m', $__range: '1m' };
  const whole = Object.entries(values).reduce((text, [name, value]) => text.replaceAll(name, value), expr);
  if (whole.includes('$'))
    throw new Error(`Grafana would fill in a variable that is not known here: ${expr}`);
  return whole;
}
