import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';

/** A query of a panel. */
export type Target = {
  readonly refId: string;
  readonly expr: string;
  readonly instant: boolean;
  readonly legendFormat?: string;
};

type Step = { readonly value: number | null; readonly color: string };
type Mapping = { readonly options: Readonly<Record<string, { readonly text?: string }>> };

/** A panel, as far as its queries and their pictures go. */
export type Panel = {
  readonly type: string;
  readonly title: string;
  readonly targets: readonly Target[];
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig: {
    readonly defaults: {
      readonly unit?: string;
      readonly thresholds?: { readonly steps: readonly Step[] };
      readonly mappings?: readonly Mapping[];
      readonly custom?: { readonly drawStyle?: string; readonly stacking?: object };
    };
  };
  readonly transformations?: readonly {
    readonly id: string;
    readonly options: {
      readonly excludeByName?: Readonly<Record<string, boolean>>;
      readonly renameByName?: Readonly<Record<string, string>>;
    };
  }[];
};

/** The panels of the dashboard. */
export async function panels(): Promise<readonly Panel[]> {
  const text = await readFile(join(REPO, 'manifests/components/monitoring/dashboard.json'), 'utf8');
  return (JSON.parse(text) as { readonly panels: readonly Panel[] }).panels;
}

/**
 * An expression with the variables that Grafana fills in: all clusters and nodes, a minute between points, and the range
 * that the dashboard shows.
 */
export function filledIn(expr: string, range = '1m'): string {
  const values = { $cluster: '.*', $node: '.*', $__rate_interval: '1m', $__range: range };
  const whole = Object.entries(values).reduce((text, [name, value]) => text.replaceAll(name, value), expr);
  if (whole.includes('$'))
    throw new Error(`Grafana would fill in a variable that is not known here: ${expr}`);
  return whole;
}
