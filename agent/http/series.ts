import type { Registry } from 'prom-client';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';

/** Metrics by name: what each tells, and the names of its labels. */
type Described = Readonly<Record<string, readonly [help: string, ...labels: readonly string[]]>>;
type Labels<Metric> = Metric extends readonly [string, ...infer Names extends readonly string[]]
  ? Names[number]
  : never;

/** A gauge of each in that registry; one without labels is 0 until it is set. */
export function gaugesOf<const All extends Described>(registry: Registry, all: All) {
  const made = optionsOf(registry, all).map((options) => [options.name, new Gauge(options)]);
  return Object.fromEntries(made) as { readonly [Name in keyof All]: Gauge<Labels<All[Name]>> };
}

/** A counter of each in that registry; one without labels is 0 until it is raised. */
export function countersOf<const All extends Described>(registry: Registry, all: All) {
  const made = optionsOf(registry, all).map((options) => [options.name, new Counter(options)]);
  return Object.fromEntries(made) as { readonly [Name in keyof All]: Counter<Labels<All[Name]>> };
}

function optionsOf(registry: Registry, all: Described) {
  return Object.entries(all).map(([name, [help, ...labelNames]]) => ({
    name,
    help,
    labelNames,
    registers: [registry],
  }));
}
