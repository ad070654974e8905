import type { Logger } from 'pino';
import type { Kube } from '../../lib/kube/client.ts';
import {
  conditionFor,
  type DesiredEntry,
  type NodeObject,
  OWN_KEYS,
  statusPatch,
  taintPatch,
  valueIn,
} from '../../lib/report/node-object.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import type { Claimant, Desired } from './desired.ts';

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 300_000;
/** A key that was left alone for so long starts again without a pause. */
const RESET_MS = 900_000;

/**
 * How often a value is restored after another client changed it: at once, then after pauses that double up to five
 * minutes. Per key, so that a contested key does not delay the others. Times are monotonic milliseconds.
 */
export class WriteBackoff {
  readonly #writes = new Map<string, { readonly count: number; readonly atMs: number }>();

  waitMs(key: string, nowMs: number): number {
    const last = this.#last(key, nowMs);
    if (last === undefined) return 0;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (last.count - 1), MAX_PAUSE_MS);
    return Math.max(last.atMs + pauseMs - nowMs, 0);
  }

  /** Returns the number of writes in a row. */
  wrote(key: string, nowMs: number): number {
    const count = (this.#last(key, nowMs)?.count ?? 0) + 1;
    this.#writes.set(key, { count, atMs: nowMs });
    return count;
  }

  #last(key: string, nowMs: number) {
    const last = this.#writes.get(key);
    return last !== undefined && nowMs - last.atMs < RESET_MS ? last : undefined;
  }
}

export type WriterOptions = Claimant & {
  readonly kube: Kube;
  readonly log: Logger;
  /** Monotonic, milliseconds. */
  readonly now: () => number;
  readonly date: () => Date;
  /** A verdict was written that changed the condition, or the label of an additional handler. */
  readonly onChange?: (verdict: Verdict, nodeUid: string) => void;
};

/** Writes the difference between a Node and its desired state, and restores what other clients changed. */
export class NodeWriter {
  readonly #options: WriterOptions;
  readonly #backoff = new WriteBackoff();
  /** Values that the Node has had: if one differs now, another client changed it. */
  readonly #established = new Map<string, string | null>();
  #uid: string | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  async read(signal: AbortSignal): Promise<NodeObject> {
    return this.#checked(await this.#options.kube.get(this.#path, signal));
  }

  /** Returns the Node, and the time until the next difference is due, if any. */
  async write(
    before: NodeObject,
    { entries: desired, verdicts }: Desired,
    signal: AbortSignal,
  ): Promise<{ readonly node: NodeObject; readonly waitMs: number | undefined }> {
    const verdict = verdicts.get(this.#options.handlers[0] ?? '');
    const { kube, date, onChange } = this.#options;
    const { differences, waitMs } = this.#due(before, desired);
    const foreign = differences.filter((entry) => this.#isEstablished(entry));
    let node = this.#establish(before, desired);
    const condition = differences.find(({ part }) => part === 'condition');
    // The message of an agent with other settings may name another handler.
    const isNewAgent = differences.some(({ key }) => key === OWN_KEYS.annotations.provenBy);
    const status = statusPatch(
      differences,
      verdict && (condition || isNewAgent) ? conditionFor(verdict, before, date().getTime()) : undefined,
    );
    if (status !== undefined) {
      node = this.#checked(await kube.patch(`${this.#path}/status`, status, 'strategic', signal));
      this.#logWrite('node', status, foreign);
      this.#establish(node, desired);
      if (verdict && condition && !foreign.includes(condition)) onChange?.(verdict, node.metadata.uid);
    }
    // Separate bookkeeping: the first write counts even if the second one fails.
    const taint = taintPatch(node, differences);
    if (taint !== undefined) {
      node = this.#checked(await kube.patch(this.#path, taint, 'merge', signal));
      this.#logWrite('taint', taint, foreign);
      this.#establish(node, desired);
    }
    return { node, waitMs };
  }

  #due(node: NodeObject, desired: readonly DesiredEntry[]) {
    const now = this.#options.now();
    const differences: DesiredEntry[] = [];
    let next: number | undefined;
    for (const entry of desired) {
      if (valueIn(node, entry) === entry.value) continue;
      const waitMs = this.#isEstablished(entry) ? this.#backoff.waitMs(idOf(entry), now) : 0;
      if (waitMs === 0) differences.push(entry);
      else next = Math.min(next ?? waitMs, waitMs);
    }
    return { differences, waitMs: next };
  }

  #logWrite(what: 'node' | 'taint', patch: object, foreign: readonly DesiredEntry[]): void {
    const { log, now } = this.#options;
    log.info(patch, `${what} written`);
    for (const entry of foreign.filter(({ part }) => (part === 'taint') === (what === 'taint'))) {
      const times = this.#backoff.wrote(idOf(entry), now());
      log.warn({ ...entry, times }, 'restored a value that another client had changed');
    }
  }

  #establish(node: NodeObject, desired: readonly DesiredEntry[]): NodeObject {
    for (const entry of desired)
      if (valueIn(node, entry) === entry.value) this.#established.set(idOf(entry), entry.value);
    return node;
  }

  #isEstablished(entry: DesiredEntry): boolean {
    return this.#established.get(idOf(entry)) === entry.value;
  }

  /** Forgets what was established if the Node is a new one. */
  #checked(response: unknown): NodeObject {
    const node = response as NodeObject;
    if (node?.metadata?.uid === undefined) throw new Error(`${this.#path}: the response is not a Node`);
    if (this.#uid !== undefined && this.#uid !== node.metadata.uid) {
      this.#options.log.info('the node was recreated');
      this.#established.clear();
    }
    this.#uid = node.metadata.uid;
    return node;
  }

  get #path(): string {
    return `/api/v1/nodes/${this.#options.node}`;
  }
}

function idOf({ part, key }: DesiredEntry): string {
  return `${part} ${key}`;
}
