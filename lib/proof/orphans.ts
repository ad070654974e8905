import { pooledMap } from '../base/async.ts';
import type { CriClient } from '../containerd/client.ts';
import { CriError } from '../containerd/error.ts';
import type { Outcome } from './outcome.ts';
import { isOwnProbe, isProbe, OWNER, POD_UID, PROBE_LABELS } from './sandbox.ts';

/** An orphan stops at once or never. */
const SWEEP_MS = 3_000;
const CONCURRENCY = 8;
/** A younger probe of another agent may be in use: by `--once`, or an agent that is shutting down. */
const IN_USE_MS = 60_000;

export type SweepOptions = {
  readonly client: CriClient;
  readonly owner: string;
  /** Marks of the agent's other handlers, whose probes it spares. */
  readonly siblings?: readonly string[];
  /** Wall clock, for the ages of containerd's records. */
  readonly wallMs: () => number;
};

export type OrphansOptions = SweepOptions & {
  /** Called when the number of orphans that containerd cannot remove changes. */
  readonly onOrphans: (count: number) => void;
};

export class Orphans {
  readonly #options: OrphansOptions;
  /** How many remained after the last sweep. */
  #count = 0;
  /** How many of them predate the latest probes. */
  #baseline = Number.POSITIVE_INFINITY;
  /** If so, its own sandbox should be gone. */
  #lastProven = false;
  /** Containers that could not be removed; undefined until containerd listed them once. */
  #unlisted: readonly string[] | undefined;
  /** Set at the start, and after each probe that was not proven. */
  #mayHaveUnlisted = true;

  constructor(options: OrphansOptions) {
    this.#options = options;
  }

  /** How many orphans the latest probes added. */
  get added(): number {
    return Math.max(this.#count - this.#baseline, 0);
  }

  record({ kind }: Outcome): void {
    this.#lastProven = kind === 'proven';
    if (!this.#lastProven) this.#mayHaveUnlisted = true;
  }

  /** If `unlisted`, also containers that the CRI does not list. Rejects without a list of sandboxes. */
  async sweep(unlisted: boolean, signal: AbortSignal): Promise<void> {
    const sandboxes = await sweepSandboxes(this.#options, signal);
    if (unlisted && this.#mayHaveUnlisted) {
      const found = await sweepContainers(this.#options, signal).catch(() => undefined);
      this.#mayHaveUnlisted = found === undefined || found.inUse || found.remaining.length > 0;
      // The first successful list shows a predecessor's.
      if (this.#unlisted === undefined && found !== undefined) this.#baseline = Number.POSITIVE_INFINITY;
      this.#unlisted = found?.remaining ?? this.#unlisted;
    }
    const count = new Set([...sandboxes, ...(this.#unlisted ?? [])]).size;
    // An orphan that survives a proven probe predates it.
    if (this.#lastProven && count <= this.#count) this.#baseline = count;
    this.#lastProven = false;
    if (count !== this.#count) this.#options.onOrphans(count);
    this.#count = count;
    this.#baseline = Math.min(this.#baseline, count);
  }
}

/** Also old ones of other agents. Resolves with the ids that remain; rejects without containerd's list. */
export async function sweepSandboxes(
  { client, owner, siblings = [], wallMs }: SweepOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  const list = async () =>
    (await client.listSandboxes('all', { signal }))
      .filter(isProbe)
      .filter(({ metadata, createdAt }) => {
        const { uid = '' } = metadata ?? {};
        if (siblings.some((mark) => isOwnProbe(uid, mark))) return false;
        return isOwnProbe(uid, owner) || wallMs() - createdAt / 1e6 >= IN_USE_MS;
      })
      .map(({ id }) => id);
  return removeAll(list, async (id) => {
    await client.stopSandbox(id, limits).catch(() => {});
    await client.removeSandbox(id, limits).catch(() => {});
  });
}

/**
 * A cancelled call leaves a container with a task in state CREATED (measured on containerd 1.7.34 and 2.4.2).
 * Resolves with the ids that remain and whether young ones were spared; rejects if containerd does not list
 * containers. No probe of this agent may run meanwhile. Called only if some may exist, because containerd
 * reads all records for it, with whatever pods put there.
 */
export async function sweepContainers(
  { client, owner, siblings = [], wallMs }: SweepOptions,
  signal: AbortSignal,
): Promise<{ readonly remaining: readonly string[]; readonly inUse: boolean }> {
  const limits = { timeoutMs: SWEEP_MS, signal };
  // containerd itself excludes pods: a dozen of their records may exceed the largest message.
  const ofProbes = { labels: PROBE_LABELS, without: POD_UID };
  let inUse = false;
  const list = async () => {
    const records = await client.listContainers(ofProbes, { signal });
    const ours = records.filter(
      ({ labels }) => !(POD_UID in labels) && !siblings.includes(labels[OWNER] ?? ''),
    );
    const old = ours.filter(
      ({ labels, createdAt }) =>
        labels[OWNER] === owner || wallMs() - (createdAt?.seconds ?? 0) * 1_000 >= IN_USE_MS,
    );
    inUse = old.length < ours.length;
    return old.map(({ id }) => id);
  };
  const remaining = await removeAll(list, async (id) => {
    const isGone = await client.deleteTask(id, limits).then(
      () => true,
      (error: unknown) => error instanceof CriError && error.kind === 'absent',
    );
    // containerd would delete the record of a running task, which is out of reach then.
    if (isGone) await client.deleteContainer(id, limits).catch(() => {});
  });
  return { remaining, inUse };
}

async function removeAll(
  list: () => Promise<readonly string[]>,
  remove: (id: string) => Promise<void>,
): Promise<readonly string[]> {
  const ids = await list();
  await pooledMap(ids, CONCURRENCY, remove);
  return ids.length === 0 ? ids : list();
}
