import timers from 'node:timers/promises';
import { pooledMap } from '../agent/async.ts';
import { AGENT_PORT } from '../agent/kube/access.ts';
import type { Report } from '../agent/report.ts';
import type { AgentPod } from './agents.ts';
import { truncate } from './node.ts';

/** No page of an agent is larger. */
const LONGEST = 4 * 2 ** 20;

/** The body of an agent's answer; undefined where it is too long, as one of a node that was taken over may be. */
export async function readBody(answer: Response, most = LONGEST): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += chunk.length;
    if (length > most) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const ANSWER_MS = 10_000;

/**
 * The answer of an agent, as long as it and its body come within 10 s and the signal is not aborted. A node that was taken
 * over cannot send us elsewhere.
 */
export function fetchAgent(url: string, signal?: AbortSignal): Promise<Response> {
  const late = AbortSignal.timeout(ANSWER_MS);
  return fetch(url, {
    signal: signal === undefined ? late : AbortSignal.any([signal, late]),
    redirect: 'error',
  });
}

const AT_ONCE = 8;
const LONGEST_VERSION = 64;
/**
 * No agent's report is larger: one with 250 pods outside and fifty long verdicts has about 280 KiB. In memory some JSON takes
 * more than twenty times its size, so that 4 MiB of it would end this process.
 */
const LONGEST_REPORT = 512 * 1024;
/** How far the clock of a node may be ahead; no proof was made at a time that is yet to come. */
const AHEAD_MS = 60_000;

/** What an agent said of itself when it was last asked; times are ISO 8601. */
export type AgentStatus = { readonly version: string; readonly provenAt?: string };

/** The URL of a path of an agent's HTTP server. */
export function agentUrl(address: string, path: string): string {
  return `http://${address.includes(':') ? `[${address}]` : address}:${AGENT_PORT}${path}`;
}

/** Whether the agent at an address answers that its loop turns. */
export async function agentAnswers(address: string): Promise<boolean> {
  const answer = await fetchAgent(agentUrl(address, '/livez')).catch(() => undefined);
  await answer?.body?.cancel();
  return answer?.ok === true;
}

/** What agents say of themselves and the API does not: asked of each once in `everyMs`, a few at a time. */
export class AgentReports {
  readonly #words = new Map<string, AgentStatus & { readonly pod: string; readonly atMs: number }>();
  readonly #everyMs: number;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** What the agent on a node said; undefined while none has. */
  get(node: string): AgentStatus | undefined {
    return this.#words.get(node);
  }

  /** Asks until the signal ends it. */
  async run(pods: () => readonly AgentPod[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const ready = pods().filter((pod) => pod.ready && pod.address !== '');
      this.#forget(ready);
      const due = ready.filter((pod) => this.#isDue(pod));
      await pooledMap(due, AT_ONCE, async (pod) => {
        if (!signal.aborted) await this.#ask(pod, signal);
      });
      await timers.setTimeout(Math.min(this.#everyMs / 10, 5_000), undefined, { signal }).catch(() => {});
    }
  }

  #forget(pods: readonly AgentPod[]): void {
    const there = new Set(pods.map(({ node }) => node));
    for (const node of this.#words.keys()) if (!there.has(node)) this.#words.delete(node);
  }

  #isDue({ node, name }: AgentPod): boolean {
    const word = this.#words.get(node);
    return word?.pod !== name || performance.now() - word.atMs > this.#everyMs;
  }

  async #ask({ node, name, address }: AgentPod, signal: AbortSignal): Promise<void> {
    const atMs = performance.now();
    const last = this.#words.get(node);
    try {
      const answer = await fetchAgent(agentUrl(address, '/report'), signal);
      const body = await readBody(answer, LONGEST_REPORT);
      if (body === undefined) throw new Error('the report is too long');
      const { version, provenAt } = JSON.parse(body.toString()) as Partial<Report>;
      if (typeof version !== 'string') throw new Error('no report');
      const provenAtMs = Date.parse(String(provenAt));
      this.#words.set(node, {
        version: truncate(version, LONGEST_VERSION),
        pod: name,
        atMs,
        // NaN, which is no time, is not before any.
        ...(provenAtMs <= Date.now() + AHEAD_MS ? { provenAt: new Date(provenAtMs).toISOString() } : {}),
      });
    } catch {
      // An agent that does not answer keeps what it said; its readiness is told by the API.
      this.#words.set(node, { version: last?.version ?? '', ...last, pod: name, atMs });
    }
  }
}
