import type { Registry } from 'prom-client';
import registerMemory from 'prom-client/lib/metrics/osMemoryHeap.js';
import registerCpu from 'prom-client/lib/metrics/processCpuTotal.js';
import registerMaxFiles from 'prom-client/lib/metrics/processMaxFileDescriptors.js';
import registerOpenFiles from 'prom-client/lib/metrics/processOpenFileDescriptors.js';
import registerStart from 'prom-client/lib/metrics/processStartTime.js';

type Options = { name: string; help: string; labelNames: readonly string[]; registers: Registry[] };

/** Gauges or counters by name, of help texts and labels. One without labels is 0 until it is set. */
export function createSeries<Name extends string, Metric>(
  registry: Registry,
  Kind: new (options: Options) => Metric,
  definitions: Readonly<Record<Name, readonly string[]>>,
) {
  const series = Object.entries<readonly string[]>(definitions).map(([name, [help = '', ...labelNames]]) => [
    name,
    new Kind({ name, help, labelNames, registers: [registry] }),
  ]);
  return Object.fromEntries(series) as { readonly [Each in Name]: Metric };
}

/**
 * The standard `process_*` metrics. prom-client's whole collection adds 40 series of `nodejs_*` and a timer of 10 ms,
 * most of an idle agent's CPU time.
 */
export function registerProcessMetrics(registry: Registry): void {
  for (const register of [registerMemory, registerCpu, registerMaxFiles, registerOpenFiles, registerStart])
    register(registry);
}
