import { Counter, Gauge, type Registry } from 'prom-client';
import registerMemory from 'prom-client/lib/metrics/osMemoryHeap.js';
import registerCpu from 'prom-client/lib/metrics/processCpuTotal.js';
import registerMaxFiles from 'prom-client/lib/metrics/processMaxFileDescriptors.js';
import registerOpenFiles from 'prom-client/lib/metrics/processOpenFileDescriptors.js';
import registerStart from 'prom-client/lib/metrics/processStartTime.js';

type Definition = readonly [help: string, ...labels: string[]];
type Definitions = Readonly<Record<string, Definition>>;
type LabelOf<Each extends Definition> = Each extends readonly [string, ...infer Labels extends string[]]
  ? Labels[number]
  : never;

/** By name. One without labels is 0 until it is set. */
export function createGauges<const All extends Definitions>(registry: Registry, definitions: All) {
  const gauges = optionsOf(registry, definitions).map((options) => [options.name, new Gauge(options)]);
  return Object.fromEntries(gauges) as { readonly [Name in keyof All]: Gauge<LabelOf<All[Name]>> };
}

/** By name. One without labels is 0 until it is increased. */
export function createCounters<const All extends Definitions>(registry: Registry, definitions: All) {
  const counters = optionsOf(registry, definitions).map((options) => [options.name, new Counter(options)]);
  return Object.fromEntries(counters) as { readonly [Name in keyof All]: Counter<LabelOf<All[Name]>> };
}

function optionsOf(registry: Registry, definitions: Definitions) {
  return Object.entries(definitions).map(([name, [help, ...labelNames]]) => {
    return { name, help, labelNames, registers: [registry] };
  });
}

/**
 * The standard `process_*` metrics. prom-client's whole collection adds 40 series of `nodejs_*` and a timer of 10 ms,
 * most of an idle agent's CPU time.
 */
export function registerProcessMetrics(registry: Registry): void {
  for (const register of [registerMemory, registerCpu, registerMaxFiles, registerOpenFiles, registerStart])
    register(registry);
}
