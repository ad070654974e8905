import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EgressMessage, TriedTarget } from '../lib/report/egress-message.ts';
import { attempt, isOpen, type Target, TIMEOUT_MS } from './attempt.ts';
import type { EgressConfig } from './settings.ts';

/** Shorter than any race that was measured. A dropped packet is sent again only after a second, so each try is a new one. */
const EVERY_MS = 50;

/** Tries all targets at once, from now on, again and again. The first packets leave before anything else is done. */
export async function tryAtStart({ targets, isRefusedOpen, forMs }: EgressConfig): Promise<EgressMessage> {
  const firstMs = performance.now(); // counts from the start of the process
  const tried = targets.map((target) => new Tried(target, firstMs, isRefusedOpen));
  const attempts: Promise<void>[] = [];
  let sandboxMs: number | undefined;
  do {
    attempts.push(...tried.map((each) => each.try()));
    await sleep(EVERY_MS);
    sandboxMs ??= kernelAgeMs() - (performance.now() - firstMs);
  } while (performance.now() - firstMs < forMs);
  const lastMs = performance.now() - firstMs;
  await Promise.all(attempts);
  return {
    schema: 1,
    ...(Number.isFinite(sandboxMs) && { sandboxMs: Math.round(sandboxMs) }),
    processMs: Math.round(firstMs),
    forMs: Math.round(lastMs),
    targets: tried.map(({ result }) => result),
  };
}

class Tried {
  readonly #target: Target;
  readonly #firstMs: number;
  readonly #isRefusedOpen: boolean;
  #tries = 0;
  #open: TriedTarget['open'];

  constructor(target: Target, firstMs: number, isRefusedOpen: boolean) {
    this.#target = target;
    this.#firstMs = firstMs;
    this.#isRefusedOpen = isRefusedOpen;
  }

  get result(): TriedTarget {
    const { name } = this.#target;
    return { name, tries: this.#tries, ...(this.#open && { open: this.#open }) };
  }

  async try(): Promise<void> {
    const fromMs = this.#sinceFirst();
    const outcome = await attempt(this.#target, TIMEOUT_MS);
    if (outcome === 'unseen') return;
    this.#tries++;
    if (!isOpen(outcome, this.#isRefusedOpen)) return;
    const { fromMs: earliestMs = fromMs, untilMs: latestMs = 0 } = this.#open ?? {};
    this.#open = { fromMs: Math.min(earliestMs, fromMs), untilMs: Math.max(latestMs, this.#sinceFirst()) };
  }

  #sinceFirst(): number {
    return Math.round(performance.now() - this.#firstMs);
  }
}

/** gVisor counts from the start of the sandbox's kernel; NaN if it does not say. */
function kernelAgeMs(): number {
  try {
    return 1_000 * Number.parseFloat(readFileSync('/proc/uptime', 'utf8'));
  } catch {
    return Number.NaN;
  }
}
