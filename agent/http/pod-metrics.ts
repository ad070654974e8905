import type { PodsSeen } from '../pods/watch-pods.ts';
import type { Series } from './series.ts';

/** How many namespaces have a series of their own. */
const MOST_NAMESPACES = 50;

/** When pods were read, wall clock time in milliseconds, and the namespaces that require gVisor. */
export type PodsContext = { readonly atMs: number; readonly required: ReadonlySet<string> };

/** The metrics of this node's pods, and of how far they can be trusted. */
export class PodMetrics {
  readonly #pods;
  readonly #unsandboxed;
  readonly #unknown;
  readonly #unlimited;
  readonly #seen;
  readonly #heard;

  constructor(series: Series) {
    this.#pods = series.gauge(
      'gvisor_pods',
      'Running pods by the CRI handler that they were started with, and by whether they really run in gVisor.',
      ['handler', 'sandboxed'],
    );
    this.#unsandboxed = series.gauge(
      'gvisor_unsandboxed_pods',
      'Running pods outside gVisor in namespaces labelled require-gvisor=true; those of further namespaces under "".',
      ['namespace'],
    );
    this.#unknown = series.gauge(
      'gvisor_unknown_pods',
      'Running pods in namespaces labelled require-gvisor=true of which nothing tells whether they run in gVisor.',
    );
    this.#unlimited = series.gauge(
      'gvisor_unlimited_pods',
      "Running pods in gVisor whose sandbox is outside the kubelet's cgroup for it, so that no limit holds.",
    );
    this.#seen = series.gauge(
      'gvisor_pods_last_seen_timestamp_seconds',
      'When the pods of this node were last read, Unix time.',
    );
    this.#heard = series.gauge(
      'gvisor_namespaces_last_heard_timestamp_seconds',
      'When the API server last told which namespaces are labelled require-gvisor=true, Unix time.',
    );
    this.#heard.remove();
  }

  /** Says that namespaces are followed: from now on they count as never heard of. */
  followNamespaces(): void {
    this.#heard.set(0);
  }

  /** Notes that the API server told of namespaces, at this wall clock time in milliseconds. */
  heardNamespaces(atMs: number): void {
    this.#heard.set(atMs / 1_000);
  }

  /** Shows the pods of this node. */
  publish({ pods, unsandboxed }: PodsSeen, { atMs, required }: PodsContext): void {
    this.#pods.reset();
    for (const { handler, sandboxed = 'unknown' } of pods)
      this.#pods.inc({ handler, sandboxed: String(sandboxed) });
    this.#unsandboxed.reset();
    const named = [...new Set(unsandboxed.map(({ namespace }) => namespace))]
      .sort()
      .slice(0, MOST_NAMESPACES);
    for (const { namespace } of unsandboxed)
      this.#unsandboxed.inc({ namespace: named.includes(namespace) ? namespace : '' });
    const unknown = pods.filter(
      ({ namespace, sandboxed }) => sandboxed === undefined && required.has(namespace),
    );
    this.#unknown.set(unknown.length);
    this.#unlimited.set(pods.filter(({ limited }) => limited === false).length);
    this.#seen.set(atMs / 1_000);
  }
}
