import timers from 'node:timers/promises';
import { type AgentStatus, agentStatusOf } from '../lib/fleet/agent-status.ts';
import type { AgentPod, FleetNode } from '../lib/fleet/objects.ts';
import type { AgentClient } from './agent-client.ts';

/** Requests in flight. */
const CONCURRENCY = 64;
/** Requests to agents that did not answer the last one, so that these do not delay others. */
const MAX_DOUBTFUL = CONCURRENCY / 2;
/** How often due agents are looked for. */
const SCHEDULE_MS = 500;
/**
 * A report costs about a millisecond of this process's one thread, nearly all of it for the connection. So many a second at
 * most are read though nothing says that they differ, and so many whatever happens.
 */
const MAX_ROUTINE_PER_SECOND = 50;
const MAX_PER_SECOND = 500;

/** How often each of so many agents is asked though nothing says that its report differs. */
export function routineIntervalMs(agents: number, intervalMs: number): number {
  return Math.max(intervalMs, (agents / MAX_ROUTINE_PER_SECOND) * 1_000);
}

/**
 * Also whether the pod was Ready, when it was last asked, monotonic, and after which share of the interval it is due again:
 * 1 for one that was due, anything between for others, so that those asked in a burst are not asked in a burst again.
 */
type Polled = AgentStatus & {
  readonly pod: string;
  readonly wasReady: boolean;
  readonly atMs: number;
  readonly share: number;
};

/** For tests: a monotonic clock, milliseconds, and a number from 0 to 1. */
type Sources = { readonly now?: () => number; readonly random?: () => number };

/**
 * What the agents say. An agent is asked at once when its Node changes what it says of gVisor, when its pod becomes Ready or
 * unready, and after a watch was lost; else only now and then, the more rarely the larger the fleet is: an agent that
 * cannot write its Node is not Ready. Those that are not Ready have a turn of their own, so that a healthy fleet does not
 * delay them.
 */
export class AgentReports {
  readonly #client: AgentClient;
  readonly #statuses = new Map<string, Polled>();
  readonly #intervalMs: number;
  readonly #now: () => number;
  readonly #random: () => number;
  /** First those that answered the last time. */
  #due: AgentPod[] = [];
  /** How many requests may begin before due agents are looked for again. */
  #allowed = 0;
  /** Of Ready agents, and of the others. */
  #intervalsMs = { ready: 0, unready: 0 };
  /** What the Node of each agent says. */
  readonly #said = new Map<string, string>();
  /** Requests in flight, by node. */
  readonly #polls = new Map<string, Promise<void>>();
  #doubtful = 0;
  /** How often a watch was lost. */
  #losses = 0;

  constructor(
    client: AgentClient,
    intervalMs: number,
    { now = () => performance.now(), random = Math.random }: Sources = {},
  ) {
    this.#client = client;
    this.#intervalMs = intervalMs;
    this.#now = now;
    this.#random = random;
  }

  /** Of a Ready agent that is asked by routine, milliseconds. */
  get routineMs(): number {
    return this.#intervalsMs.ready;
  }

  get(node: string): AgentStatus | undefined {
    return this.#statuses.get(node);
  }

  /** Until the report is read again, which is soon, however large the fleet is. */
  dropStatement(node: string): void {
    const { statement: _, ...status } = this.#statuses.get(node) ?? {};
    if (!('pod' in status)) return;
    const atMs = this.#now() + this.#intervalMs - this.#intervalOf(status.wasReady);
    this.#statuses.set(node, { ...status, atMs, share: 1 });
  }

  /** A report says nothing of what its Node said after it, so it is read again. */
  noteNode({ name, label, handlers, verdict }: FleetNode): void {
    const labels = handlers.map((each) => `${each.handler}=${each.label}`);
    const said = [label, ...labels, verdict?.status, verdict?.reason].join();
    const before = this.#said.get(name);
    this.#said.set(name, said);
    if (before !== undefined && before !== said) this.#expire(name);
  }

  /** After a watch was lost, what was read may be of another Node or agent. */
  expireAll(): void {
    this.#losses++;
    for (const node of this.#statuses.keys()) this.#expire(node);
  }

  #expire(node: string): void {
    this.dropStatement(node);
    const last = this.#statuses.get(node);
    if (last !== undefined) this.#statuses.set(node, { ...last, atMs: Number.NEGATIVE_INFINITY });
  }

  /** Polls until the signal aborts. */
  async run(pods: () => readonly AgentPod[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const byNode = new Map<string, AgentPod>();
      for (const pod of pods())
        if (pod.address !== '' && (pod.ready || !byNode.has(pod.node))) byNode.set(pod.node, pod);
      for (const node of this.#statuses.keys())
        if (!byNode.has(node)) for (const known of [this.#statuses, this.#said]) known.delete(node);
      const ready = [...byNode.values()].filter((pod) => pod.ready).length;
      this.#intervalsMs = {
        ready: routineIntervalMs(ready, this.#intervalMs),
        unready: routineIntervalMs(byNode.size - ready, this.#intervalMs),
      };
      const isFree = (pod: AgentPod) => this.#dueMs(pod) <= this.#now() && !this.#polls.has(pod.node);
      this.#due = [...byNode.values()]
        .filter(isFree)
        .sort(
          (a, b) =>
            Number(this.#isDoubtful(a)) - Number(this.#isDoubtful(b)) || this.#dueMs(a) - this.#dueMs(b),
        );
      this.#allowed = (MAX_PER_SECOND * SCHEDULE_MS) / 1_000;
      this.#pollDue(signal);
      await timers.setTimeout(SCHEDULE_MS, undefined, { signal }).catch(() => {});
    }
    await Promise.all(this.#polls.values());
  }

  #pollDue(signal: AbortSignal): void {
    while (this.#polls.size < CONCURRENCY && this.#allowed > 0 && !signal.aborted) {
      const [pod] = this.#due;
      if (pod === undefined) return;
      const isDoubtful = this.#isDoubtful(pod);
      if (isDoubtful && this.#doubtful >= MAX_DOUBTFUL) return;
      this.#due.shift();
      this.#allowed--;
      if (isDoubtful) this.#doubtful++;
      const poll = this.#poll(pod, signal).finally(() => {
        if (isDoubtful) this.#doubtful--;
        this.#polls.delete(pod.node);
        this.#pollDue(signal);
      });
      this.#polls.set(pod.node, poll);
    }
  }

  /** Monotonic; not finite for an agent that is asked at once. */
  #dueMs({ node, name, ready }: AgentPod): number {
    const last = this.#statuses.get(node);
    return last?.pod === name && last.wasReady === ready
      ? last.atMs + last.share * this.#intervalOf(ready)
      : Number.NEGATIVE_INFINITY;
  }

  #intervalOf(ready: boolean): number {
    return this.#intervalsMs[ready ? 'ready' : 'unready'];
  }

  #isDoubtful({ node }: AgentPod): boolean {
    return this.#statuses.get(node)?.unread ?? true;
  }

  async #poll(pod: AgentPod, signal: AbortSignal): Promise<void> {
    const { node, name, address, ready } = pod;
    const share = Number.isFinite(this.#dueMs(pod)) ? 1 : this.#random();
    const asked = { pod: name, wasReady: ready, atMs: this.#now(), share };
    const [said, losses] = [this.#said.get(node), this.#losses];
    try {
      const status = agentStatusOf(await this.#client.report(address, signal), node);
      const live = ready || (await this.#client.isLive(address));
      this.#statuses.set(node, { ...status, ...asked, live, readMs: asked.atMs, unread: false });
    } catch {
      // The last status stays, but not what another pod said.
      const { statement, ...last } = this.#statuses.get(node) ?? { version: '', pod: '' };
      const kept = last.pod === name && statement !== undefined ? { statement } : {};
      this.#statuses.set(node, { ...last, ...asked, ...kept, live: false, unread: true });
    }
    const hasNews = said !== undefined && this.#said.get(node) !== said;
    if (hasNews || this.#losses !== losses) this.#expire(node);
  }
}
