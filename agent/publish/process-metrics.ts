import type { Registry } from 'prom-client';
import heap from 'prom-client/lib/metrics/heapSizeAndUsed.js';
import memory from 'prom-client/lib/metrics/osMemoryHeap.js';
import cpu from 'prom-client/lib/metrics/processCpuTotal.js';
import maxFiles from 'prom-client/lib/metrics/processMaxFileDescriptors.js';
import openFiles from 'prom-client/lib/metrics/processOpenFileDescriptors.js';
import start from 'prom-client/lib/metrics/processStartTime.js';
import version from 'prom-client/lib/metrics/version.js';

/**
 * The usual metrics of the process, `process_*` and a few `nodejs_*`. prom-client's whole collection measures
 * the event loop with a timer of 10 ms, which is most of what an idle agent would cost.
 */
export function processMetrics(registry: Registry): void {
  for (const register of [cpu, start, memory, openFiles, maxFiles, heap, version]) register(registry);
}
