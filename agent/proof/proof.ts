import { kubeletPids } from '../host/containerd-process.ts';
import { readKernelFacts } from '../host/kernel-facts.ts';
import { learnHousekeeping } from './bait.ts';
import { type BootOptions, bootAndRead } from './boot.ts';
import { judgeGuest } from './guest.ts';
import { impossible, interrupted, type Outcome } from './outcome.ts';
import { findPlace, type Place } from './place.ts';
import { sweep, tearDown } from './teardown.ts';

/** What a proof needs. */
export type ProofOptions = BootOptions & {
  /** Image for the probe's container; else the agent's own, else the sandbox's. */
  readonly image?: string | undefined;
  /** Whether the proof is wanted at once; else it waits up to 2 s until the kubelet will not disturb it. */
  readonly hurry?: boolean;
  readonly teardownTimeoutMs?: number;
};

const ATTEMPTS = 3;

/**
 * Boots one sandbox through the handler that pods use, reads the kernel inside it, and removes it.
 * At most one sandbox lives at a time. A kubelet that removes the sandbox in the middle, or may have, is no
 * failure: the attempt is repeated, three times in all.
 */
export async function prove(options: ProofOptions, signal: AbortSignal): Promise<Outcome> {
  let outcome: Outcome | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    signal.throwIfAborted();
    // Who was disturbed once does not hurry into the next disturbance.
    outcome = await tryOnce(attempt === 0 ? options : { ...options, hurry: false }, signal);
    if (outcome.kind !== 'interrupted') return outcome;
  }
  return outcome ?? { kind: 'interrupted', reason: 'ProbeInterrupted', message: 'no attempt was made' };
}

async function tryOnce(options: ProofOptions, signal: AbortSignal): Promise<Outcome> {
  const { client, now, housekeeping, leftovers } = options;
  try {
    const left = await sweep(options, signal);
    if (left !== undefined) return left;
    const place = await findPlace(client, options.image, { signal });
    if (!options.hurry) await waitForQuiet(options, place, signal);
    const begun = now();
    const boot = await bootAndRead(options, place, signal);
    if ('outcome' in boot) return boot.outcome;
    const booted = now();
    housekeeping?.took(booted - begun);
    const disturbed = housekeeping?.lookedBetween(begun, booted);
    const torn = await tearDown(options, boot.id);
    if (torn?.kind === 'stuck') leftovers?.set(boot.id, disturbed ? 'left' : 'stuck');
    if (torn !== undefined) return torn.kind === 'stuck' && disturbed ? interrupted(torn.message) : torn;
    return judgeGuest(boot.output, await readKernelFacts(options.host), {
      handler: options.handler,
      bootMs: booted - begun,
      teardownMs: now() - booted,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    return impossible(error);
  }
}

/** Waits for a moment at which a kubelet, if there is one, will not disturb a proof. */
async function waitForQuiet(
  { client, host, housekeeping }: ProofOptions,
  { cgroupParent }: Place,
  signal: AbortSignal,
): Promise<void> {
  if (housekeeping === undefined) return;
  const kubelet = (await kubeletPids(host, signal)).join(' ');
  // Where pods have a cgroup to share there is a kubelet, seen or not.
  const isThere = kubelet !== '' || cgroupParent !== '';
  if (isThere && !housekeeping.isLearnedOf(kubelet)) {
    housekeeping.learningOf(kubelet);
    await learnHousekeeping(client, housekeeping, cgroupParent, signal);
  }
  await housekeeping.quiet(signal);
}
