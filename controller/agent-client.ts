import type { Dispatcher } from 'undici';
import request from 'undici/lib/api/api-request.js';
import Connections from 'undici/lib/dispatcher/agent.js';
import { readBody } from '../lib/base/body.ts';
import { AGENT_PORT } from '../lib/kube/access.ts';

const TIMEOUT_MS = 10_000;
/**
 * Fifty long verdicts have about 280 KiB. JSON can take twenty times its size in memory, so a larger report
 * of a compromised node could end this process.
 */
const MAX_REPORT_BYTES = 512 * 1024;

/**
 * Asks agents by the addresses of their pods. Every request ends within 10 s, and follows no redirect, which a
 * compromised node could send. undici's own request is cheaper than fetch() for 5,000 reports in 15 s.
 */
export class AgentClient {
  readonly #connections = new Connections({});

  /** Whether the agent answers, and still runs its loop. */
  async isLive(address: string): Promise<boolean> {
    const response = await this.#request(address, '/livez').catch(() => undefined);
    await response?.body.dump().catch(() => {});
    return response?.statusCode === 200;
  }

  /** Unvalidated; undefined during the agent's first evaluation. */
  async report(address: string, signal?: AbortSignal): Promise<unknown> {
    const report = await this.#text(address, '/report', signal);
    return report === undefined ? undefined : JSON.parse(report);
  }

  /** The agent's text about its node, unsanitized; undefined during its first evaluation. */
  text(address: string): Promise<string | undefined> {
    return this.#text(address, '/');
  }

  async #text(address: string, path: string, signal?: AbortSignal): Promise<string | undefined> {
    const { statusCode, body } = await this.#request(address, path, signal);
    if (statusCode !== 200) await body.dump();
    if (statusCode === 503) return undefined;
    if (statusCode !== 200) throw new Error(`status ${statusCode}`);
    const text = await readBody(body, MAX_REPORT_BYTES);
    if (text === undefined) throw new Error(`the report is larger than ${MAX_REPORT_BYTES} bytes`);
    return text.toString();
  }

  #request(address: string, path: string, signal?: AbortSignal): Promise<Dispatcher.ResponseData> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const host = address.includes(':') ? `[${address}]` : address;
    return request.call(this.#connections, {
      origin: `http://${host}:${AGENT_PORT}`,
      path,
      method: 'GET',
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
  }
}
