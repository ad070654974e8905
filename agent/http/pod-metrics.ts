import type { Registry } from 'prom-client';
import type { ObservedPods } from '../pods/pod.ts';
import { isOpen } from '../pods/pod.ts';
import { gaugesOf } from './series.ts';

const GAUGES = {
  gvisor_pods: [
    'Running pods by the CRI handler that they were started with, and by whether they really run in gVisor.',
    'handler',
    'sandboxed',
  ],
  gvisor_unsandboxed_pods: [
    'Running pods outside gVisor, or in one with a way out to the host, in namespaces labelled require-gvisor=true.',
  ],
  gvisor_unknown_pods: [
    'Running pods in namespaces labelled require-gvisor=true of which nothing tells whether they run in gVisor.',
  ],
  gvisor_unlimited_pods: [
    "Running pods in gVisor whose sandbox is outside the kubelet's cgroup for it, so that no limit holds.",
  ],
  gvisor_weakened_pods: [
    "Running pods in gVisor whose sandbox is weaker than that of the node's probe, by flags or annotations.",
  ],
  gvisor_pods_last_seen_timestamp_seconds: ['When the pods of this node were last read, Unix time.'],
  gvisor_namespaces_last_update_timestamp_seconds: [
    'When the API server last told which namespaces are labelled require-gvisor=true, Unix time.',
  ],
} as const;

/** The metrics of this node's pods, and of how far they can be trusted. */
export class PodMetrics {
  readonly #gauges;

  constructor(registry: Registry) {
    this.#gauges = gaugesOf(registry, GAUGES);
    // Not known before pods were read, or namespaces listed.
    this.#gauges.gvisor_unsandboxed_pods.remove();
    this.#gauges.gvisor_namespaces_last_update_timestamp_seconds.remove();
  }

  /** Says that namespaces are followed: from now on they count as never heard of. */
  followNamespaces(): void {
    this.#gauges.gvisor_namespaces_last_update_timestamp_seconds.set(0);
  }

  /** Notes that the API server told of namespaces, at this wall clock time in milliseconds. */
  heardNamespaces(atMs: number): void {
    this.#gauges.gvisor_namespaces_last_update_timestamp_seconds.set(atMs / 1_000);
  }

  /** Shows the pods of this node; these namespaces require gVisor. */
  publish({ pods, unsandboxed, weakened, atMs }: ObservedPods, required: ReadonlySet<string>): void {
    this.#gauges.gvisor_pods.reset();
    for (const { handler, sandboxed = 'unknown' } of pods)
      this.#gauges.gvisor_pods.inc({ handler, sandboxed: String(sandboxed) });
    const open = weakened.filter((pod) => isOpen(pod) && required.has(pod.namespace));
    this.#gauges.gvisor_unsandboxed_pods.set(unsandboxed.length + open.length);
    const unknown = pods.filter(
      ({ namespace, sandboxed }) => sandboxed === undefined && required.has(namespace),
    );
    this.#gauges.gvisor_unknown_pods.set(unknown.length);
    this.#gauges.gvisor_unlimited_pods.set(pods.filter(({ limited }) => limited === false).length);
    this.#gauges.gvisor_weakened_pods.set(weakened.length);
    this.#gauges.gvisor_pods_last_seen_timestamp_seconds.set(atMs / 1_000);
  }
}
