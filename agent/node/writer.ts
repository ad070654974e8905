import type { Logger } from 'pino';
import type { Kube } from '../kube/client.ts';
import { KubeError } from '../kube/error.ts';
import type { Verdict } from '../verdict.ts';
import {
  conditionFor,
  type NodeObject,
  OWN_KEYS,
  statusPatch,
  taintPatch,
  valueIn,
  type Wanted,
} from './object.ts';

type Round = { readonly number: number; readonly atMs: number };

const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 300_000;
/** A key that was left alone for so long is not fought over any more. */
const PEACE_MS = 900_000;

/**
 * Bounds how often a key is written again because somebody else changed it: at once the first time, then
 * after pauses that double up to five minutes, so that two writers never chase each other. Times are
 * milliseconds of a monotonic clock.
 */
export class WriteBackoff {
  readonly #rounds = new Map<string, Round>();

  /** How long to wait before the key may be written again; 0 for not at all. */
  waitMs(key: string, nowMs: number): number {
    const round = this.#last(key, nowMs);
    if (round === undefined) return 0;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** (round.number - 1), LAST_PAUSE_MS);
    return Math.max(round.atMs + pause - nowMs, 0);
  }

  /** Tells that the key was written again; gives the number of times that it was, one after the other. */
  wrote(key: string, nowMs: number): number {
    const number = (this.#last(key, nowMs)?.number ?? 0) + 1;
    this.#rounds.set(key, { number, atMs: nowMs });
    return number;
  }

  #last(key: string, nowMs: number): Round | undefined {
    const round = this.#rounds.get(key);
    return round !== undefined && nowMs - round.atMs < PEACE_MS ? round : undefined;
  }
}

/** What a publisher of a Node needs. */
export type NodeOptions = {
  readonly kube: Kube;
  readonly node: string;
  /** Whether nodes that are not proven carry a taint. */
  readonly taint: boolean;
  /** The agent's version with a digest of what a verdict depends on. */
  readonly fingerprint: string;
  /** The ID of the boot that the agent runs in. */
  readonly boot: string;
  readonly log: Logger;
  /** Monotonic and wall clock, milliseconds. */
  readonly now: () => number;
  readonly date: () => Date;
  /** Hears of each verdict that changed the condition, once it stands there. */
  readonly changed?: (verdict: Verdict, nodeUid: string) => void;
  /** Hears after each write whether the Node says that gVisor was ever proven on it. */
  readonly provenOnce?: (provenOnce: boolean) => void;
};

/** How each message of the policy in manifests/base/node-writes.yaml begins that is about a Node's keys. */
const REFUSAL = 'an agent writes only ';

/** Writes what a Node does not say as wanted; what somebody else changed back, less and less often. */
export class NodeWriter {
  readonly #options: NodeOptions;
  readonly #contest = new WriteBackoff();
  /** What the Node has said as wanted, by part and key: a difference from it is somebody else's. */
  readonly #stood = new Map<string, string | null>();
  #uid: string | undefined;

  constructor(options: NodeOptions) {
    this.#options = options;
  }

  /** Reads the whole Node. */
  async read(signal: AbortSignal): Promise<NodeObject> {
    return this.#remember(await this.#options.kube.get(this.#path, signal));
  }

  /**
   * Whether the admission policy of the base refuses what is not this agent's to write. Rejects where that is not known:
   * without a response, and where RBAC or another policy refuses.
   */
  async isGuarded(signal: AbortSignal): Promise<boolean> {
    const patch = { metadata: { labels: { [OWN_KEYS.refused]: 'true' } } };
    try {
      await this.#options.kube.patch(`${this.#path}/status?dryRun=All`, patch, 'strategic', signal);
      return false;
    } catch (err) {
      if (err instanceof KubeError && err.message.includes(REFUSAL)) return true;
      throw err;
    }
  }

  /** Writes what is due, and tells what the Node is then and in how many milliseconds more is due. */
  async write(
    was: NodeObject,
    { verdict, wanted }: { readonly verdict: Verdict; readonly wanted: readonly Wanted[] },
    signal: AbortSignal,
  ): Promise<{ readonly node: NodeObject; readonly waitMs: number | undefined }> {
    const { log, kube, now, date, changed, provenOnce } = this.#options;
    const { differences, waitMs } = this.#due(was, wanted);
    const condition = differences.find(({ part }) => part === 'condition');
    const said = condition && conditionFor(verdict, was, date().getTime());
    const others = differences.filter((each) => this.#isOthers(each));
    // Of each write at once: when the next one fails, what stands by then is no longer different.
    const wrote = (what: 'node' | 'taint', patch: object, answer: unknown) => {
      log.info(patch, `${what} written`);
      for (const difference of others.filter(({ part }) => (part === 'taint') === (what === 'taint'))) {
        const times = this.#contest.wrote(idOf(difference), now());
        log.warn({ ...difference, times }, 'written again, because another client had changed it');
      }
      return this.#stand(this.#remember(answer), wanted);
    };
    let node = this.#stand(was, wanted);
    const status = statusPatch(differences, said);
    if (status !== undefined) {
      node = wrote('node', status, await kube.patch(`${this.#path}/status`, status, 'strategic', signal));
      if (condition !== undefined && !others.includes(condition)) changed?.(verdict, node.metadata.uid);
    }
    const taint = taintPatch(node, differences);
    if (taint !== undefined) {
      node = wrote('taint', taint, await kube.patch(this.#path, taint, 'merge', signal));
    }
    provenOnce?.(node.metadata.annotations?.[OWN_KEYS.annotations.provenBy] !== undefined);
    return { node, waitMs };
  }

  #due(node: NodeObject, wanted: readonly Wanted[]) {
    const now = this.#options.now();
    const differences: Wanted[] = [];
    let next: number | undefined;
    for (const entry of wanted) {
      if (valueIn(node, entry) === entry.value) continue;
      const waitMs = this.#isOthers(entry) ? this.#contest.waitMs(idOf(entry), now) : 0;
      if (waitMs === 0) differences.push(entry);
      else next = Math.min(next ?? waitMs, waitMs);
    }
    return { differences, waitMs: next };
  }

  /** Notes what a Node says as wanted. */
  #stand(node: NodeObject, wanted: readonly Wanted[]): NodeObject {
    for (const entry of wanted)
      if (valueIn(node, entry) === entry.value) this.#stood.set(idOf(entry), entry.value);
    return node;
  }

  /** Whether the Node has said what is wanted before, so that somebody else must have changed it. */
  #isOthers(entry: Wanted): boolean {
    return this.#stood.get(idOf(entry)) === entry.value;
  }

  #remember(answer: unknown): NodeObject {
    const node = answer as NodeObject;
    if (node?.metadata?.uid === undefined) throw new Error(`${this.#path}: the answer is no Node`);
    if (this.#uid !== undefined && this.#uid !== node.metadata.uid) {
      this.#options.log.info('the node was recreated');
      this.#stood.clear();
    }
    this.#uid = node.metadata.uid;
    return node;
  }

  get #path(): string {
    return `/api/v1/nodes/${this.#options.node}`;
  }
}

function idOf({ part, key }: Wanted): string {
  return `${part} ${key}`;
}
