import type { Logger } from 'pino';
import type { Kube, WatchEvent } from '../kube/client.ts';
import { keepWatching } from '../kube/watch.ts';

/** Their pods make the cluster work; see manifests/components/enforce/pods.yaml. */
const EXEMPT = /^(kube-.*|gvisor-ready)$/;
/** The label with which a namespace says that its pods must run in gVisor. */
const PATH = '/api/v1/namespaces?labelSelector=require-gvisor%3Dtrue';

type Named = { readonly metadata: { readonly name: string } };
type List = { readonly items: readonly Named[]; readonly metadata: { readonly resourceVersion: string } };

/**
 * Follows which namespaces are labelled require-gvisor=true, by a list and a watch of those alone. While the API
 * server does not answer, the names last heard stand.
 */
export class RequiredNamespaces {
  readonly #changed: () => void;
  #labelled: Set<string> | undefined;

  /** `changed` is called when the names may be others than before. */
  constructor(changed = () => {}) {
    this.#changed = changed;
  }

  /** Without those that the policies exempt, whatever they are labelled. */
  get names(): ReadonlySet<string> {
    return new Set([...(this.#labelled ?? [])].filter((name) => !EXEMPT.test(name)));
  }

  /** Whether an API server has told of them at all. */
  get known(): boolean {
    return this.#labelled !== undefined;
  }

  /** Follows until the signal ends it. */
  run(kube: Kube, log: Logger, signal: AbortSignal): Promise<void> {
    const onEvent = (event: WatchEvent) => this.#onEvent(event);
    const begin = () => this.#list(kube, signal);
    return keepWatching({ kube, path: PATH, log, onEvent, begin }, signal);
  }

  /**
   * A list is whole or an error. A watch shows only by its first bookmark that it has told all there was: at once as a
   * rule, but after a minute where the API server's feature WatchList is off, and a proxy may end each watch sooner.
   * Source: staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go, `setInitialEventsEndBookmarkIfRequested`
   */
  async #list(kube: Kube, signal: AbortSignal): Promise<string> {
    const { items, metadata } = (await kube.get(`${PATH}&resourceVersion=0`, signal)) as List;
    this.#labelled = new Set(items.map(nameOf));
    this.#changed();
    return metadata.resourceVersion;
  }

  #onEvent({ type, object }: WatchEvent): void {
    // A namespace that loses the label leaves the selection, which is told as DELETED.
    if (type === 'DELETED') this.#labelled?.delete(nameOf(object as Named));
    else if (type !== 'BOOKMARK') this.#labelled?.add(nameOf(object as Named));
    this.#changed();
  }
}

function nameOf({ metadata }: Named): string {
  return metadata.name;
}
