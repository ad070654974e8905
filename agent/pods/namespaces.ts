import type { Logger } from 'pino';
import type { Kube, WatchEvent } from '../../lib/kube/client.ts';
import { keepWatching } from '../../lib/kube/watch.ts';

/** System namespaces, which the policies exempt: manifests/components/enforce/pods.yaml. */
const EXEMPT = /^(kube-.*|gvisor-ready)$/;
const PATH = '/api/v1/namespaces?labelSelector=gvisor-ready.dev%2Frequire%3Dtrue';

type Named = { readonly metadata: { readonly name: string } };
type List = { readonly items: readonly Named[]; readonly metadata: { readonly resourceVersion: string } };

/** The namespaces labelled gvisor-ready.dev/require=true. The last known names stay while the API server is down. */
export class RequiredNamespaces {
  readonly #onChange: () => void;
  #labelled: Set<string> | undefined;

  constructor(onChange = () => {}) {
    this.#onChange = onChange;
  }

  get names(): ReadonlySet<string> {
    return new Set([...(this.#labelled ?? [])].filter((name) => !EXEMPT.test(name)));
  }

  get known(): boolean {
    return this.#labelled !== undefined;
  }

  run(kube: Kube, log: Logger, signal: AbortSignal): Promise<void> {
    const onEvent = (event: WatchEvent) => this.#onEvent(event);
    const begin = () => this.#list(kube, signal);
    return keepWatching({ kube, path: PATH, log, onEvent, begin }, signal);
  }

  /**
   * Lists before watching: without the API server's feature WatchList a watch is complete only after a minute, and a
   * proxy may end it sooner. Source: staging/src/k8s.io/apiserver/pkg/storage/cacher/cacher.go,
   * `setInitialEventsEndBookmarkIfRequested`
   */
  async #list(kube: Kube, signal: AbortSignal): Promise<string> {
    const { items, metadata } = (await kube.get(`${PATH}&resourceVersion=0`, signal)) as List;
    this.#labelled = new Set(items.map(nameOf));
    this.#onChange();
    return metadata.resourceVersion;
  }

  #onEvent({ type, object }: WatchEvent): void {
    // Also sent for a namespace that loses the label.
    if (type === 'DELETED') this.#labelled?.delete(nameOf(object as Named));
    else if (type !== 'BOOKMARK') this.#labelled?.add(nameOf(object as Named));
    this.#onChange();
  }
}

function nameOf({ metadata }: Named): string {
  return metadata.name;
}
