import { readdirSync, readFileSync } from 'node:fs';
import { Counter, Gauge, type Registry } from 'prom-client';

type Definitions = Readonly<Record<string, readonly [help: string, ...labels: readonly string[]]>>;
type Labels<Definition> = Definition extends readonly [string, ...infer Names extends readonly string[]]
  ? Names[number]
  : never;

/** One without labels is 0 until it is set. */
export function createGauges<const All extends Definitions>(registry: Registry, definitions: All) {
  const gauges = optionsOf(registry, definitions).map((options) => [options.name, new Gauge(options)]);
  return Object.fromEntries(gauges) as { readonly [Name in keyof All]: Gauge<Labels<All[Name]>> };
}

/** One without labels is 0 until it is incremented. */
export function createCounters<const All extends Definitions>(registry: Registry, definitions: All) {
  const counters = optionsOf(registry, definitions).map((options) => [options.name, new Counter(options)]);
  return Object.fromEntries(counters) as { readonly [Name in keyof All]: Counter<Labels<All[Name]>> };
}

function optionsOf(registry: Registry, definitions: Definitions) {
  return Object.entries(definitions).map(([name, [help, ...labelNames]]) => ({
    name,
    help,
    labelNames,
    registers: [registry],
  }));
}

const PROCESS_GAUGES = {
  process_resident_memory_bytes: ['Resident memory size in bytes.'],
  process_virtual_memory_bytes: ['Virtual memory size in bytes.'],
  process_heap_bytes: ['Process heap size in bytes.'],
  process_open_fds: ['Number of open file descriptors.'],
  process_max_fds: ['Maximum number of open file descriptors.'],
  process_start_time_seconds: ['Start time of the process since unix epoch in seconds.'],
} as const;
const PROCESS_COUNTERS = {
  process_cpu_user_seconds_total: ['Total user CPU time spent in seconds.'],
  process_cpu_system_seconds_total: ['Total system CPU time spent in seconds.'],
  process_cpu_seconds_total: ['Total user and system CPU time spent in seconds.'],
} as const;

/**
 * Registers the standard `process_*` metrics, and returns a function that updates them. prom-client's own collection
 * adds 40 series of `nodejs_*` and a timer of 10 ms, most of an idle agent's CPU time.
 */
export function createProcessMetrics(registry: Registry): () => void {
  const gauges = createGauges(registry, PROCESS_GAUGES);
  const counters = createCounters(registry, PROCESS_COUNTERS);
  if (process.platform !== 'linux') return () => {};
  gauges.process_start_time_seconds.set(Math.round(Date.now() / 1_000 - process.uptime()));
  gauges.process_max_fds.set(field(readFileSync('/proc/self/limits', 'utf8'), /^Max open files +(\d+)/m));
  return () => {
    const status = readFileSync('/proc/self/status', 'utf8');
    gauges.process_resident_memory_bytes.set(1_024 * field(status, /^VmRSS:\s+(\d+)/m));
    gauges.process_virtual_memory_bytes.set(1_024 * field(status, /^VmSize:\s+(\d+)/m));
    gauges.process_heap_bytes.set(1_024 * field(status, /^VmData:\s+(\d+)/m));
    gauges.process_open_fds.set(readdirSync('/proc/self/fd').length - 1); // without that of the directory itself
    const { user, system } = process.cpuUsage();
    setTotal(counters.process_cpu_user_seconds_total, user / 1e6);
    setTotal(counters.process_cpu_system_seconds_total, system / 1e6);
    setTotal(counters.process_cpu_seconds_total, (user + system) / 1e6);
  };
}

function field(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1]);
}

function setTotal(counter: Counter, total: number): void {
  counter.reset();
  counter.inc(total);
}
