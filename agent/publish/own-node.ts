import type { Logger } from 'pino';
import type { Kube, WatchEvent } from '../../lib/kube/client.ts';
import { keepWatching } from '../../lib/kube/watch.ts';
import { isOlder, type NodeMetadata, type NodeObject } from '../../lib/report/node-object.ts';

/** After a 404 the Node is read again after so long even without an event, since the 404 may be a proxy's. */
const RETRY_MISSING_MS = 30_000;

export type OwnNodeOptions = {
  readonly kube: Kube;
  readonly node: string;
  readonly log: Logger;
  /** Monotonic, milliseconds. */
  readonly now: () => number;
  readonly onChange: () => void;
};

/** The agent's Node, as the newest of a watch and of the responses to reads and writes shows it. */
export class OwnNode {
  readonly #options: OwnNodeOptions;
  #unprocessed: WatchEvent | undefined;
  /** Of the last response, or a later event. */
  #newest: NodeMetadata | undefined;
  #current: NodeObject | undefined;
  #beforeOutage: NodeObject | undefined;
  #missingUntilMs = 0;
  /** The watch has ended since the last event: the API server may have come back with an older state. */
  #hasEnded = false;

  constructor(options: OwnNodeOptions) {
    this.#options = options;
  }

  /** Undefined if it must be read. */
  get current(): NodeObject | undefined {
    return this.#current;
  }

  /** Also as it was before its state became unknown. */
  get lastKnown(): NodeObject | undefined {
    return this.#current ?? this.#beforeOutage;
  }

  /** For how long it counts as deleted, unless the watch shows it; at most 0 if it does not. */
  get missingForMs(): number {
    return this.#missingUntilMs - this.#options.now();
  }

  async watch(signal: AbortSignal): Promise<void> {
    const { kube, node, log, onChange } = this.#options;
    const path = `/api/v1/nodes?fieldSelector=metadata.name%3D${node}`;
    const onEvent = (event: WatchEvent) => {
      if (event.type === 'BOOKMARK') return;
      this.#unprocessed = event;
      onChange();
    };
    const onEnd = () => {
      this.#hasEnded = true;
    };
    await keepWatching({ kube, path, whole: true, log, onEvent, onEnd }, signal);
  }

  /** Takes a response of the API server. */
  set(node: NodeObject): void {
    this.#current = node;
    this.#newest = node.metadata;
  }

  /** After a request that failed. */
  setUnknown(): void {
    this.#beforeOutage = this.lastKnown;
    this.#current = undefined;
  }

  setMissing(): void {
    this.#missingUntilMs = this.#options.now() + RETRY_MISSING_MS;
  }

  /** Takes what the watch has shown since the last call. Returns true if the Node was deleted. */
  catchUp(): boolean {
    const event = this.#unprocessed;
    this.#unprocessed = undefined;
    if (event === undefined) return false;
    if (event.type === 'DELETED') {
      this.#current = undefined;
      this.#beforeOutage = undefined;
      this.#missingUntilMs = Number.POSITIVE_INFINITY;
      return true;
    }
    this.#missingUntilMs = 0;
    const node = event.object as NodeObject;
    const isBehind = this.#newest !== undefined && isOlder(node.metadata, this.#newest);
    const isRenewed = this.#hasEnded;
    this.#hasEnded = false;
    // An event may be older than the response to the agent's own write. A new watch may begin with an older state, from an API
    // server that lags behind or was restored from a backup: a read decides.
    if (isBehind && !isRenewed) return false;
    if (!isBehind) this.#newest = node.metadata;
    const known = this.#current;
    if (known === undefined) return false;
    this.#current = isBehind || node.metadata.uid !== known.metadata.uid ? undefined : node;
    return false;
  }
}
