import type { Registry } from 'prom-client';
import memory from 'prom-client/lib/metrics/osMemoryHeap.js';
import cpu from 'prom-client/lib/metrics/processCpuTotal.js';
import maxFiles from 'prom-client/lib/metrics/processMaxFileDescriptors.js';
import openFiles from 'prom-client/lib/metrics/processOpenFileDescriptors.js';
import start from 'prom-client/lib/metrics/processStartTime.js';

/**
 * The usual metrics of the process, `process_*`. prom-client's whole collection has 40 series of `nodejs_*` more, and
 * measures the event loop with a timer of 10 ms, which is most of what an idle agent would cost.
 */
export function processMetrics(registry: Registry): void {
  for (const register of [cpu, start, memory, openFiles, maxFiles]) register(registry);
}
