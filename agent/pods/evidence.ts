import { createHash, randomUUID } from 'node:crypto';
import timers from 'node:timers/promises';
import type { Logger } from 'pino';
import { repeat, waitUpTo } from '../../lib/base/async.ts';
import type { CriClient, ListedSandbox } from '../../lib/containerd/client.ts';
import { CriError } from '../../lib/containerd/error.ts';
import type { Host } from '../../lib/host/host.ts';
import { readBootId } from '../../lib/host/system.ts';
import { mustBeInGvisor, type Pod, STALE_MS } from '../../lib/pods/pod.ts';
import type { PodSentry, SeenSandbox } from '../../lib/pods/pod-reader.ts';
import { isProbe } from '../../lib/proof/sandbox.ts';
import { hasTextPages, type RunscPrograms } from '../../lib/runsc/program.ts';

/** Changes with the meaning of a field; docs/evidence.md describes each. */
const SCHEMA = 'gvisor-ready.dev/evidence/v1';
/** The node's first verdict comes first. */
const START_MS = 5_000;
/** The kubelet removes no sandbox that is younger than 30 s. */
const LIST_MS = 10_000;
const MAX_REST_MS = 20_000;
/** Half a MiB of lines: more are counted as lost while nobody reads the log. */
const MAX_QUEUED = 1_000;
const LAST_LINES_MS = 1_000;
/** In manifests/base/daemonset.yaml. */
const AGENT_CONTAINER = 'gvisor-ready-agent';

/** When what is known of a sandbox was first and last seen, wall clock; absent if it was never seen running. */
type Span = { readonly fromMs: number; readonly toMs: number };
type Known = ReadonlyMap<string, Span & { readonly seen: SeenSandbox }>;
type PodChange = { readonly event: 'begin' | 'change' | 'end'; readonly seen: SeenSandbox } & Partial<Span>;
/** A time in which sandboxes may have come and gone unseen, or lines that are lost. */
type Gap = {
  readonly event: 'gap';
  readonly cause: 'agent' | 'containerd' | 'log';
  readonly lost?: number;
} & Partial<Span>;
type Change = PodChange | Gap;

/** The file that a sentry runs. */
type Program = {
  readonly path: string;
  readonly release: string | undefined;
  readonly digest: string | undefined;
};

/** The sandboxes that run, those of them that are to be in gVisor, and when they were listed. */
type Read = {
  readonly sandboxes: readonly SeenSandbox[];
  readonly concerns: (pod: Pick<Pod, 'handler' | 'namespace'>) => boolean;
  readonly atMs: number;
};

/** Compares a read with what is known. A pod that no longer needs gVisor is followed to its end. */
export function changesOf(known: Known, { sandboxes, concerns, atMs }: Read) {
  const next = new Map<string, Span & { readonly seen: SeenSandbox }>();
  const changes: PodChange[] = [];
  for (const seen of sandboxes) {
    const before = known.get(seen.id);
    if (before === undefined && !concerns(seen.pod)) continue;
    if (before !== undefined && rank(seen) <= rank(before.seen)) {
      next.set(seen.id, { ...before, toMs: atMs });
      continue;
    }
    const now = { seen, fromMs: atMs, toMs: atMs };
    next.set(seen.id, now);
    changes.push({ event: before === undefined ? 'begin' : 'change', ...now });
  }
  for (const [id, before] of known) if (!next.has(id)) changes.push({ event: 'end', ...before });
  return { known: next, changes };
}

/** How much is known of a sandbox. To know less than before is no change of the sandbox. */
function rank({ process, pod }: SeenSandbox): number {
  if (process !== undefined) return 2;
  return pod.sandboxed === undefined ? 0 : 1;
}

export type EvidenceOptions = {
  readonly client: CriClient;
  readonly host: Host;
  readonly programs: RunscPrograms;
  readonly node: string;
  /** Those that are proven here. */
  readonly handlers: readonly string[];
  /** UID of the agent's own pod. */
  readonly podUid: string | undefined;
  /** Resolves once somebody has taken the line, which may be never. */
  readonly write: (line: string) => Promise<void>;
  readonly log: Logger;
  readonly startMs?: number;
};

/**
 * Writes a line for each pod that is to be in gVisor when it begins, when more is seen of it, and when it ends. Nothing
 * waits for it: what is read is compared at once, and a loop of its own completes and writes the lines, each after the one
 * before. What this agent has not seen running, and containerd still lists, has a line too.
 */
export class Evidence {
  readonly #options: EvidenceOptions;
  readonly #agent = randomUUID();
  readonly #digests = new Map<string, { readonly fingerprint: string; readonly digest: string }>();
  /** Completed once for each sandbox, at its first line. */
  readonly #programs = new WeakMap<SeenSandbox, Promise<Program | undefined>>();
  #known: Known = new Map();
  #queue: Change[] = [];
  #lost = 0;
  #sequence = 0;
  #boot = '';
  #last: { readonly atMs: number; readonly monotonicMs: number } | undefined;
  #required: ReadonlySet<string> = new Set();
  #read: readonly SeenSandbox[] = [];
  /** As of the last look for sandboxes that ended unseen. */
  #listed: readonly SeenSandbox[] | undefined;
  #listedMs = Number.NEGATIVE_INFINITY;
  #draining: Promise<void> | undefined;
  /** Sandboxes whose end has a line, as long as containerd may list them. */
  #ended = new Set<string>();
  #wake = new AbortController();

  constructor(options: EvidenceOptions) {
    this.#options = options;
  }

  /** Call it after each successful read of the pods. */
  note(sandboxes: readonly SeenSandbox[], required: ReadonlySet<string>): void {
    const now = { atMs: Date.now(), monotonicMs: performance.now() };
    const last = this.#last;
    this.#last = now;
    this.#read = sandboxes;
    this.#required = required;
    if (last === undefined) this.#push({ event: 'gap', cause: 'agent', toMs: now.atMs });
    else if (now.monotonicMs - last.monotonicMs > STALE_MS)
      this.#push({ event: 'gap', cause: 'containerd', fromMs: last.atMs, toMs: now.atMs });
    const concerns = (pod: Parameters<Read['concerns']>[0]) => this.#concerns(pod);
    const { known, changes } = changesOf(this.#known, { sandboxes, concerns, atMs: now.atMs });
    this.#known = known;
    for (const change of changes) {
      if (change.event === 'end') this.#ended.add(change.seen.id);
      this.#push(change);
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    const { log, startMs = START_MS } = this.#options;
    await timers.setTimeout(startMs, undefined, { signal }).catch(() => {});
    const onProblem = (line: string) => log.warn(`cannot complete the evidence of pods: ${line}`);
    const wake = () => {
      this.#wake = new AbortController();
      if (this.#queue.length > 0) this.#wake.abort();
      return this.#wake.signal;
    };
    const { promise: stopped, resolve } = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => resolve(), { once: true });
    // A line that nobody takes must not keep the agent from ending.
    const turn = () => Promise.race([this.#turn(signal), stopped]);
    await repeat(turn, { everyMs: LIST_MS, maxRestMs: MAX_REST_MS, signal, wake, onProblem });
    if (this.#boot === '') return;
    const end = AbortSignal.timeout(LAST_LINES_MS);
    await waitUpTo(this.#drain(end), LAST_LINES_MS, end);
  }

  async #turn(signal: AbortSignal): Promise<void> {
    if (this.#boot === '') this.#boot = await readBootId(this.#options.host);
    await this.#drain(signal);
    const isListed = this.#listed === this.#read || performance.now() - this.#listedMs < LIST_MS;
    if (this.#last !== undefined && !isListed) await this.#findEnded(signal);
  }

  #concerns(pod: Pick<Pod, 'handler' | 'namespace'>): boolean {
    return mustBeInGvisor(pod, this.#options.handlers, this.#required);
  }

  #push(change: Change): void {
    if (this.#queue.length < MAX_QUEUED) this.#queue.push(change);
    else this.#lost += 1;
    this.#wake.abort();
  }

  /** Only one at a time writes. */
  #drain(signal: AbortSignal): Promise<void> {
    this.#draining ??= this.#writeAll(signal).finally(() => {
      this.#draining = undefined;
    });
    return this.#draining;
  }

  async #writeAll(signal: AbortSignal): Promise<void> {
    for (let change = this.#queue[0]; change !== undefined; change = this.#queue[0]) {
      await this.#write(change, signal);
      this.#queue.shift();
      if (this.#queue.length > 0 || this.#lost === 0) continue;
      this.#queue.push({ event: 'gap', cause: 'log', lost: this.#lost, toMs: Date.now() });
      this.#lost = 0;
    }
  }

  /** Lines of sandboxes that came and went between two reads, or while no agent ran. */
  async #findEnded(signal: AbortSignal): Promise<void> {
    const { client } = this.#options;
    this.#listed = this.#read;
    this.#listedMs = performance.now();
    const told = [...this.#ended];
    const listed = await client.listSandboxes('SANDBOX_NOTREADY', { signal });
    const ids = new Set(listed.map(({ id }) => id));
    for (const id of told) if (!ids.has(id)) this.#ended.delete(id);
    for (const sandbox of listed) {
      const { id, metadata, runtimeHandler: handler } = sandbox;
      if (metadata === null || isProbe(sandbox)) continue;
      const isTold = this.#ended.has(id) || this.#known.has(id);
      if (isTold || !this.#concerns({ namespace: metadata.namespace, handler })) continue;
      this.#push({ event: 'end', seen: await this.#examineEnded(sandbox, signal) });
      this.#ended.add(id);
      await this.#drain(signal);
    }
  }

  /** Its process is gone, and another may have its PID. */
  async #examineEnded(listed: ListedSandbox, signal: AbortSignal): Promise<SeenSandbox> {
    const { id, createdAt, metadata, runtimeHandler: handler } = listed;
    const { namespace = '', name = '', uid = '' } = metadata ?? {};
    const info = await this.#options.client.sandbox(id, { signal }).catch((error: unknown) => {
      if (!(error instanceof CriError && error.kind === 'absent')) throw error;
    });
    const pod = { namespace, name, uid, handler, evidence: '' };
    return { id, createdAt, pod, runtimeType: info?.runtimeType ?? '' };
  }

  async #write(change: Change, signal: AbortSignal): Promise<void> {
    const { node, write } = this.#options;
    const { event, toMs } = change;
    const facts =
      change.event === 'gap' ? { cause: change.cause, lost: change.lost } : await this.#facts(change.seen);
    const isStart = change.event === 'gap' && change.cause === 'agent';
    const fromMs = isStart ? await this.#endOfPredecessor(signal).catch(() => undefined) : change.fromMs;
    const line = {
      level: 'info',
      time: new Date().toISOString(),
      node,
      schema: SCHEMA,
      event,
      boot: this.#boot,
      agent: this.#agent,
      sequence: ++this.#sequence,
      from: iso(fromMs),
      to: iso(toMs),
      ...facts,
      msg: 'evidence',
    };
    await write(`${JSON.stringify(line)}\n`);
  }

  /** As long as containerd has the container of the last agent in this namespace. */
  async #endOfPredecessor(signal: AbortSignal): Promise<number | undefined> {
    const { client, podUid } = this.#options;
    const sandboxes = await client.listSandboxes('all', { signal });
    const own = sandboxes.find(({ metadata }) => podUid !== undefined && metadata?.uid === podUid)?.metadata;
    const siblings = new Set(
      sandboxes.flatMap(({ id, metadata }) => (own && metadata?.namespace === own.namespace ? [id] : [])),
    );
    let endedMs: number | undefined;
    for (const { id, podSandboxId, state } of await client.listPodContainers({ signal })) {
      if (state !== 'CONTAINER_EXITED' || !siblings.has(podSandboxId)) continue;
      const { metadata, finishedAt } = await client.containerStatus(id, { signal });
      if (metadata?.name === AGENT_CONTAINER) endedMs = Math.max(endedMs ?? 0, finishedAt / 1e6);
    }
    return endedMs;
  }

  async #facts(seen: SeenSandbox) {
    const { id, createdAt, pod, runtimeType, process, sentry } = seen;
    const found = this.#programs.get(seen) ?? this.#findProgram(sentry).catch(() => undefined);
    this.#programs.set(seen, found);
    const program = await found;
    return {
      namespace: pod.namespace,
      pod: pod.name,
      uid: pod.uid,
      handler: pod.handler,
      sandbox: id,
      created: iso(createdAt / 1e6),
      gvisor: pod.sandboxed ?? null,
      runtime: runtimeType || undefined,
      process: process && { ...process, limited: pod.limited },
      sentry: sentry && { ...program, flags: sentry.flags },
    };
  }

  /** The program on the disk whose code has the size of the sentry's; nothing if several have, or none. */
  async #findProgram(sentry: PodSentry | undefined): Promise<Program | undefined> {
    if (sentry === undefined) return undefined;
    const { host, programs } = this.#options;
    const named = await programs.named(host, sentry.configPath);
    const [program, ...others] = named.filter((each) => hasTextPages(each, sentry.textPages));
    if (program === undefined || others.length > 0) return undefined;
    const { path, release } = program;
    return { path, release: release.text || undefined, digest: await this.#digest(path) };
  }

  /** SHA-512, which gVisor publishes beside each release. */
  async #digest(path: string): Promise<string | undefined> {
    const { host } = this.#options;
    const fingerprint = (await host.stat(path))?.fingerprint;
    if (fingerprint === undefined) return undefined;
    const known = this.#digests.get(path);
    if (known?.fingerprint === fingerprint) return known.digest;
    const hash = createHash('sha512');
    for await (const piece of host.pieces(path, 0)) hash.update(piece);
    const digest = `sha512:${hash.digest('hex')}`;
    this.#digests.set(path, { fingerprint, digest });
    return digest;
  }
}

function iso(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}
