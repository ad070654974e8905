import { setTimeout as sleep } from 'node:timers/promises';
import type { EgressMessage } from '../lib/report/egress-message.ts';
import { attempt, isOpen, TIMEOUT_MS } from './attempt.ts';
import type { EgressConfig } from './settings.ts';

/** Tries all targets again and again, until one is open or its life is over. */
export class Watch {
  readonly #config: EgressConfig;
  #closedMs = Number.NEGATIVE_INFINITY;

  constructor(config: EgressConfig) {
    this.#config = config;
  }

  /** Whether all targets were closed when last tried, a moment ago. */
  get isClosed(): boolean {
    return performance.now() - this.#closedMs < 3 * (this.#config.intervalMs + TIMEOUT_MS);
  }

  /** Resolves to what was open, or to undefined at the end of its life. */
  async run(): Promise<EgressMessage | undefined> {
    const { intervalMs, lifetimeMs } = this.#config;
    const firstMs = performance.now();
    while (performance.now() - firstMs < lifetimeMs) {
      const message = await this.#tryAll();
      if (message.targets.some(({ open }) => open)) return message;
      if (message.targets.every(({ tries }) => tries > 0)) this.#closedMs = performance.now();
      await sleep(intervalMs);
    }
    return undefined;
  }

  async #tryAll(): Promise<EgressMessage> {
    const { targets, isRefusedOpen } = this.#config;
    const firstMs = performance.now();
    const tried = targets.map(async (target) => {
      const outcome = await attempt(target, TIMEOUT_MS);
      const untilMs = Math.round(performance.now() - firstMs);
      const open = isOpen(outcome, isRefusedOpen) && { open: { fromMs: 0, untilMs } };
      return { name: target.name, tries: Number(outcome !== 'unseen'), ...open };
    });
    return { schema: 1, processMs: Math.round(firstMs), forMs: 0, targets: await Promise.all(tried) };
  }
}
