import timers from 'node:timers/promises';
import { pooledMap } from '../agent/async.ts';
import type { Installation } from '../agent/host/installation.ts';
import { AGENT_PORT } from '../agent/kube/access.ts';
import type { PodCounts } from '../agent/pods/pod.ts';
import { type AgentPod, truncate } from './objects.ts';
import { isInstallation, isPodCounts, isSandboxes } from './report-shape.ts';
import type { NodeInstallation } from './rollout.ts';

const TIMEOUT_MS = 10_000;
/**
 * An agent's report with fifty long verdicts has about 280 KiB. JSON can take twenty times its size in memory, so a larger
 * one from a compromised node could end this process.
 */
const MAX_REPORT_BYTES = 512 * 1024;
const CONCURRENCY = 8;
const MAX_VERSION_LENGTH = 64;
/** How far a node's clock may be ahead. */
const MAX_CLOCK_SKEW_MS = 60_000;

/** An agent's response; rejects after 10 s, and on a redirect, which a compromised node could send. */
function fetchAgent(address: string, path: string, signal?: AbortSignal): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const host = address.includes(':') ? `[${address}]` : address;
  return fetch(`http://${host}:${AGENT_PORT}${path}`, {
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    redirect: 'error',
  });
}

/** Whether the agent at an address responds that its loop makes progress. */
export async function isAgentLive(address: string): Promise<boolean> {
  const response = await fetchAgent(address, '/livez').catch(() => undefined);
  await response?.body?.cancel().catch(() => {});
  return response?.ok === true;
}

/** The unvalidated report of the agent at an address; undefined while its first evaluation has not ended. */
export async function fetchReport(address: string, signal?: AbortSignal): Promise<unknown> {
  const response = await fetchAgent(address, '/report', signal);
  if (response.status === 503) {
    await response.body?.cancel();
    return undefined;
  }
  if (!response.ok) throw new Error(`status ${response.status}`);
  const body = await readBody(response, MAX_REPORT_BYTES);
  if (body === undefined) throw new Error(`the report is larger than ${MAX_REPORT_BYTES} bytes`);
  return JSON.parse(body.toString());
}

/** The body of a response; undefined where it is too large. */
export async function readBody(response: Response, maxBytes = 4 * 2 ** 20): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The parts of an agent's report that the fleet's page shows; `provenAt` is an ISO 8601 time. */
export type AgentStatus = {
  readonly version: string;
  readonly provenAt?: string;
  /** Absent where the agent does not know. */
  readonly sandboxes?: {
    /** How many have a problem. */
    readonly problems: number;
    /** Whether a restart of containerd would harm pods. */
    readonly unsafe: boolean;
  };
  /** Absent where the agent does not know. */
  readonly pods?: PodCounts;
  /** Absent where the installer was never used. */
  readonly installation?: NodeInstallation;
  /** Whether the last attempt to read the report failed; the rest is then of an earlier one. */
  readonly unread?: boolean;
};

/** Polls the reports of all agents, each once per interval. */
export class AgentReports {
  readonly #statuses = new Map<string, AgentStatus & { readonly pod: string; readonly atMs: number }>();
  readonly #intervalMs: number;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** The latest status of the agent on a node. */
  get(node: string): AgentStatus | undefined {
    return this.#statuses.get(node);
  }

  /** Polls until the signal aborts. */
  async run(pods: () => readonly AgentPod[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const ready = pods().filter((pod) => pod.ready && pod.address !== '');
      this.#forgetOthers(ready);
      const due = ready.filter((pod) => this.#isDue(pod));
      await pooledMap(due, CONCURRENCY, async (pod) => {
        if (!signal.aborted) await this.#poll(pod, signal);
      });
      await timers.setTimeout(Math.min(this.#intervalMs / 10, 5_000), undefined, { signal }).catch(() => {});
    }
  }

  #forgetOthers(pods: readonly AgentPod[]): void {
    const nodes = new Set(pods.map(({ node }) => node));
    for (const node of this.#statuses.keys()) if (!nodes.has(node)) this.#statuses.delete(node);
  }

  #isDue({ node, name }: AgentPod): boolean {
    const status = this.#statuses.get(node);
    return status?.pod !== name || performance.now() - status.atMs > this.#intervalMs;
  }

  async #poll({ node, name, address }: AgentPod, signal: AbortSignal): Promise<void> {
    const atMs = performance.now();
    const last = this.#statuses.get(node);
    try {
      const report = (await fetchReport(address, signal)) as Readonly<Record<string, unknown>> | undefined;
      const { version, provenAt, sandboxes, podCounts, installation } = report ?? {};
      if (typeof version !== 'string') throw new Error('no report');
      const provenAtMs = Date.parse(String(provenAt));
      this.#statuses.set(node, {
        version: truncate(version, MAX_VERSION_LENGTH),
        pod: name,
        atMs,
        // False for NaN, an invalid time.
        ...(provenAtMs <= Date.now() + MAX_CLOCK_SKEW_MS
          ? { provenAt: new Date(provenAtMs).toISOString() }
          : {}),
        ...(isSandboxes(sandboxes) && !sandboxes.stale
          ? { sandboxes: { problems: sandboxes.total, unsafe: sandboxes.restart.state === 'unsafe' } }
          : {}),
        ...(isPodCounts(podCounts) ? { pods: podCounts } : {}),
        ...(isInstallation(installation) ? { installation: withoutTexts(installation) } : {}),
      });
    } catch {
      // The last status is kept; the pod's readiness comes from the API server.
      this.#statuses.set(node, { version: last?.version ?? '', ...last, pod: name, atMs, unread: true });
    }
  }
}

/** Texts of a compromised node may be long, and are kept of thousands of nodes. */
function withoutTexts({ pending, failure, ...rest }: Installation): NodeInstallation {
  return {
    ...rest,
    ...(pending && { pending: { ...pending, since: '' } }),
    ...(failure && { failure: { ...failure, message: '', at: '' } }),
  };
}
