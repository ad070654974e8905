import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { errorLine } from '../host/error-line.ts';
import type { Kube, WatchEvent } from '../kube.ts';

/** The label with which a namespace says that its pods must run in gVisor. */
export const REQUIRED = 'require-gvisor';

type Metadata = { readonly metadata?: { readonly name?: string; readonly resourceVersion?: string } };
type List = Metadata & { readonly items?: readonly Metadata[] };

/** The server ends a watch after this time; an hour or so costs it nothing, and renews what was missed. */
const WATCH_S = 3_300;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

/**
 * Follows which namespaces are labelled {@link REQUIRED}, without polling: one list and then a watch of the
 * metadata of namespaces with that label alone. Nothing else of a namespace is asked for.
 */
export class RequiredNamespaces {
  readonly #kube: Kube;
  readonly #log: Logger;
  readonly #changed: () => void;
  #names: ReadonlySet<string> = new Set();

  /** `changed` is called when the names are others than before. */
  constructor(kube: Kube, log: Logger, changed: () => void) {
    this.#kube = kube;
    this.#log = log;
    this.#changed = changed;
  }

  /** The names as last heard; those of before while the API server does not answer. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** Follows until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    let pauseMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        await this.#follow(signal, () => {
          pauseMs = FIRST_RETRY_MS;
        });
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn(`cannot follow the namespaces labelled ${REQUIRED}: ${errorLine(error)}`);
        await timers.setTimeout(pauseMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
        pauseMs = Math.min(pauseMs * 2, LAST_RETRY_MS);
      }
    }
  }

  async #follow(signal: AbortSignal, heard: () => void): Promise<void> {
    const query = `/api/v1/namespaces?labelSelector=${REQUIRED}%3Dtrue`;
    const list = (await this.#kube.get(query, signal)) as List;
    this.#set(new Set((list.items ?? []).map(nameOf)));
    const version = list.metadata?.resourceVersion ?? '';
    const seconds = Math.round(WATCH_S * (0.9 + 0.2 * Math.random()));
    const watch = `${query}&watch=1&timeoutSeconds=${seconds}&allowWatchBookmarks=true&resourceVersion=${version}`;
    for await (const event of this.#kube.watch(watch, 'metadata', signal)) {
      heard();
      this.#hear(event);
    }
  }

  #hear({ type, object }: WatchEvent): void {
    if (type === 'BOOKMARK') return;
    const name = nameOf(object as Metadata);
    const names = new Set(this.#names);
    // A namespace that loses the label leaves the selection, which is told as DELETED.
    if (type === 'DELETED') names.delete(name);
    else names.add(name);
    this.#set(names);
  }

  #set(names: ReadonlySet<string>): void {
    const same = names.size === this.#names.size && [...names].every((name) => this.#names.has(name));
    this.#names = names;
    if (!same) this.#changed();
  }
}

function nameOf({ metadata }: Metadata): string {
  return metadata?.name ?? '';
}
