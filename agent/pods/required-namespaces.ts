import type { Logger } from 'pino';
import type { Kube, WatchEvent } from '../kube/client.ts';
import { keepWatching } from '../kube/watch.ts';

/** Their pods make the cluster work; see manifests/components/enforce/pods.yaml. */
const EXEMPT = /^(kube-.*|gvisor-ready)$/;
/** The label with which a namespace says that its pods must run in gVisor. */
const PATH = '/api/v1/namespaces?labelSelector=require-gvisor%3Dtrue';

/**
 * Follows which namespaces are labelled require-gvisor=true, by a watch of the metadata of those alone. While
 * the API server does not answer, the names last heard stand.
 */
export class RequiredNamespaces {
  readonly #changed: () => void;
  /** What the watch of now has told. */
  #told = new Set<string>();
  /** What the one before had told; it stands until the one of now has told of all that there is. */
  #before: ReadonlySet<string> = new Set();
  #heard = false;

  /** `changed` is called when the names may be others than before. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** Without those that the policies exempt, whatever they are labelled. */
  get names(): ReadonlySet<string> {
    return new Set([...this.#before, ...this.#told].filter((name) => !EXEMPT.test(name)));
  }

  /** Whether an API server has told of them at all. */
  get known(): boolean {
    return this.#heard;
  }

  /** Follows until the signal ends it. */
  run(kube: Kube, log: Logger, signal: AbortSignal): Promise<void> {
    const onEvent = (event: WatchEvent) => this.#onEvent(event);
    return keepWatching(
      { kube, path: PATH, extent: 'metadata', log, onEvent, begin: () => this.#begin() },
      signal,
    );
  }

  #begin(): void {
    this.#before = this.names;
    this.#told = new Set();
  }

  #onEvent({ type, object }: WatchEvent): void {
    this.#heard = true;
    const name = (object as { readonly metadata?: { readonly name?: string } }).metadata?.name ?? '';
    // A bookmark, the first about a minute after the begin, comes after all that there was then.
    if (type === 'BOOKMARK') this.#before = new Set();
    // A namespace that loses the label leaves the selection, which is told as DELETED.
    else if (type === 'DELETED') this.#forget(name);
    else this.#told.add(name);
    this.#changed();
  }

  #forget(name: string): void {
    this.#told.delete(name);
    this.#before = new Set([...this.#before].filter((each) => each !== name));
  }
}
