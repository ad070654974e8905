import timers from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import request from 'undici/lib/api/api-request.js';
import Agent from 'undici/lib/dispatcher/agent.js';
import { sanitizeLine } from '../base/sanitize.ts';
import { AGENT_PORT } from '../kube/access.ts';
import type { Installation } from '../node/host/installation.ts';
import type { SandboxesReport } from '../node/sandboxes/problem.ts';
import { sinceOf } from '../report/next-steps.ts';
import type { HandlerReport } from '../report/report.ts';
import { isHistory, isInstallation, isPodCounts, isPublished, isSandboxes } from '../report/schema.ts';
import { type AgentPod, type FleetNode, truncate } from './objects.ts';
import { MAX_REASON_LENGTH, statementOf } from './refutation.ts';
import type { NodeInstallation } from './rollout.ts';

const TIMEOUT_MS = 10_000;
/**
 * Fifty long verdicts have about 280 KiB. JSON can take twenty times its size in memory, so a larger report
 * of a compromised node could end this process.
 */
const MAX_REPORT_BYTES = 512 * 1024;
/** Enough for 5,000 reports in 15 s. */
const CONCURRENCY = 64;
/** Requests to agents that did not answer the last one, so that these do not delay others. */
const MAX_DOUBTFUL = CONCURRENCY / 2;
/** How often due agents are looked for. */
const SCHEDULE_MS = 500;
const MAX_VERSION_LENGTH = 64;
/** How far a node's clock may be ahead. */
const MAX_CLOCK_SKEW_MS = 60_000;

/** Cheaper than fetch() for 5,000 reports in 15 s. */
const CONNECTIONS = new Agent({});

/** Rejects after 10 s. Follows no redirect, which a compromised node could send. */
function fetchAgent(address: string, path: string, signal?: AbortSignal): Promise<Dispatcher.ResponseData> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const host = address.includes(':') ? `[${address}]` : address;
  return request.call(CONNECTIONS, {
    origin: `http://${host}:${AGENT_PORT}`,
    path,
    method: 'GET',
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  });
}

export async function isAgentLive(address: string): Promise<boolean> {
  const response = await fetchAgent(address, '/livez').catch(() => undefined);
  await response?.body.dump().catch(() => {});
  return response?.statusCode === 200;
}

/** Unvalidated; undefined during the agent's first evaluation. */
export async function fetchReport(address: string, signal?: AbortSignal): Promise<unknown> {
  const report = await fetchStatus(address, '/report', signal);
  return report === undefined ? undefined : JSON.parse(report);
}

/** The agent's text about its node, unsanitized; undefined during its first evaluation. */
export function fetchText(address: string): Promise<string | undefined> {
  return fetchStatus(address, '/');
}

async function fetchStatus(address: string, path: string, signal?: AbortSignal): Promise<string | undefined> {
  const { statusCode, body } = await fetchAgent(address, path, signal);
  if (statusCode !== 200) await body.dump();
  if (statusCode === 503) return undefined;
  if (statusCode !== 200) throw new Error(`status ${statusCode}`);
  const report = await readBody(body, MAX_REPORT_BYTES);
  if (report === undefined) throw new Error(`the report is larger than ${MAX_REPORT_BYTES} bytes`);
  return report.toString();
}

/** Undefined if it is too large. */
export async function readBody(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export type AgentStatus = ReturnType<typeof agentStatusOf> & {
  /** Monotonic; absent if it never was read. */
  readonly readMs?: number;
  /** Whether the last attempt failed; the rest is then of an earlier one. */
  readonly unread?: boolean;
  /** Whether the agent answered, and still runs its loop. */
  readonly live?: boolean;
};

/** Also whether the pod was Ready, and when it was last asked, monotonic. */
type Polled = AgentStatus & { readonly pod: string; readonly wasReady: boolean; readonly atMs: number };

/** Polls each agent once an interval, also those that are not Ready. */
export class AgentReports {
  readonly #statuses = new Map<string, Polled>();
  readonly #intervalMs: number;
  readonly #now: () => number;
  /** First those that answered the last time. */
  #due: AgentPod[] = [];
  /** What the Node of each agent says. */
  readonly #said = new Map<string, string>();
  /** Requests in flight, by node. */
  readonly #polls = new Map<string, Promise<void>>();
  #doubtful = 0;

  /** `now`: a monotonic clock, milliseconds. */
  constructor(intervalMs: number, now = () => performance.now()) {
    this.#intervalMs = intervalMs;
    this.#now = now;
  }

  get(node: string): AgentStatus | undefined {
    return this.#statuses.get(node);
  }

  /** Until the report is read again. */
  dropStatement(node: string): void {
    const { statement: _, ...status } = this.#statuses.get(node) ?? {};
    if ('pod' in status) this.#statuses.set(node, status);
  }

  /** A report says nothing of what its Node said after it, so it is read again. */
  noteNode({ name, label, handlers, verdict }: FleetNode): void {
    const labels = handlers.map((each) => `${each.handler}=${each.label}`);
    const said = [label, ...labels, verdict?.status, verdict?.reason].join();
    const before = this.#said.get(name);
    this.#said.set(name, said);
    if (before !== undefined && before !== said) this.#expire(name);
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
      const isFree = (pod: AgentPod) => this.#dueMs(pod) <= this.#now() && !this.#polls.has(pod.node);
      this.#due = [...byNode.values()]
        .filter(isFree)
        .sort(
          (a, b) =>
            Number(this.#isDoubtful(a)) - Number(this.#isDoubtful(b)) || this.#dueMs(a) - this.#dueMs(b),
        );
      this.#pollDue(signal);
      await timers.setTimeout(SCHEDULE_MS, undefined, { signal }).catch(() => {});
    }
    await Promise.all(this.#polls.values());
  }

  #pollDue(signal: AbortSignal): void {
    while (this.#polls.size < CONCURRENCY && !signal.aborted) {
      const [pod] = this.#due;
      if (pod === undefined) return;
      const isDoubtful = this.#isDoubtful(pod);
      if (isDoubtful && this.#doubtful >= MAX_DOUBTFUL) return;
      this.#due.shift();
      if (isDoubtful) this.#doubtful++;
      const poll = this.#poll(pod, signal).finally(() => {
        if (isDoubtful) this.#doubtful--;
        this.#polls.delete(pod.node);
        this.#pollDue(signal);
      });
      this.#polls.set(pod.node, poll);
    }
  }

  /** Monotonic; 0 for an agent that was not asked since its readiness changed. */
  #dueMs({ node, name, ready }: AgentPod): number {
    const last = this.#statuses.get(node);
    return last?.pod === name && last.wasReady === ready ? last.atMs + this.#intervalMs : 0;
  }

  #isDoubtful({ node }: AgentPod): boolean {
    return this.#statuses.get(node)?.unread ?? true;
  }

  async #poll({ node, name, address, ready }: AgentPod, signal: AbortSignal): Promise<void> {
    const asked = { pod: name, wasReady: ready, atMs: this.#now() };
    const said = this.#said.get(node);
    try {
      const status = agentStatusOf(await fetchReport(address, signal), node);
      const live = ready || (await isAgentLive(address));
      this.#statuses.set(node, { ...status, ...asked, live, readMs: asked.atMs, unread: false });
    } catch {
      // The last status stays, but not what another pod said.
      const { statement, ...last } = this.#statuses.get(node) ?? { version: '', pod: '' };
      const kept = last.pod === name && statement !== undefined ? { statement } : {};
      this.#statuses.set(node, { ...last, ...asked, ...kept, live: false, unread: true });
    }
    if (said !== undefined && this.#said.get(node) !== said) this.#expire(node);
  }
}

/** Keeps the valid parts; throws if it is no report. */
export function agentStatusOf(report: unknown, node: string) {
  const { version, provenAt, sandboxes, podCounts, installation } = (report ?? {}) as Record<string, unknown>;
  if (typeof version !== 'string') throw new Error('no report');
  const provenAtMs = Date.parse(String(provenAt));
  const statement = statementOf(report, node);
  const handlers = (isPublished(report) && report.handlers) || [];
  return {
    version: truncate(version, MAX_VERSION_LENGTH),
    /** ISO 8601; the comparison is false for an invalid time. */
    ...(provenAtMs <= Date.now() + MAX_CLOCK_SKEW_MS ? { provenAt: new Date(provenAtMs).toISOString() } : {}),
    /** Absent if not scanned yet. */
    ...(isSandboxes(sandboxes) ? { sandboxes: countSandboxes(sandboxes) } : {}),
    /** Absent if the agent does not know. */
    ...(isPodCounts(podCounts) ? { pods: podCounts } : {}),
    /** Absent if the installer was never used. */
    ...(isInstallation(installation) ? { installation: withoutTexts(installation) } : {}),
    ...(statement && { statement }),
    /** Additional handlers by name: a reason, and since when, or "". */
    ...(handlers.length > 0 && { unproven: new Map(handlers.map(whyUnproven)) }),
  } as const;
}

/** How many have a problem, and whether a restart of containerd would harm pods; `stale` if too long ago. */
function countSandboxes({ total, restart, stale }: SandboxesReport) {
  return stale ? ('stale' as const) : { problems: total, unsafe: restart.state === 'unsafe' };
}

function whyUnproven({
  handler,
  verdict,
  history,
}: Pick<HandlerReport, 'handler' | 'verdict'> & Partial<HandlerReport>) {
  const { status, reason } = verdict;
  const code = status === 'True' ? 'NotLabelled' : truncate(sanitizeLine(reason), MAX_REASON_LENGTH);
  const since = sinceOf({ verdict, history: isHistory(history) ? history : [] }) ?? '';
  return [handler, { reason: code, since: truncate(since, MAX_REASON_LENGTH) }] as const;
}

/** A compromised node may send long texts, and thousands of nodes are kept. */
function withoutTexts({ pending, failure, ...rest }: Installation): NodeInstallation {
  return {
    ...rest,
    ...(pending && { pending: { ...pending, since: '' } }),
    ...(failure && { failure: { ...failure, message: '', at: '' } }),
  };
}
