import timers from 'node:timers/promises';
import type { CriClient } from '../../lib/containerd/client.ts';
import { sweepContainers, sweepSandboxes } from '../../lib/proof/orphans.ts';
import type { Outcome } from '../../lib/proof/outcome.ts';
import { runProbe } from '../../lib/proof/probe.ts';
import { ownerMarks } from '../../lib/proof/sandbox.ts';
import type { Node } from '../base/node.ts';
import { Refusal } from '../base/refusal.ts';

/** An inconclusive proof is tried again until then: slow is not broken. */
const PROVE_MS = 600_000;
const PROVE_PAUSE_MS = 1_000;
const SWEEP_MS = 30_000;
/** The lock guarantees that no other installer has probes. */
const [OWNER = ''] = ownerMarks(1, 'installer');

/** Resolves with what was seen. */
export async function proveHandler(node: Node): Promise<string> {
  const outcome = await patientProbe(node, PROVE_MS);
  if (outcome.kind === 'proven') return outcome.message;
  const what = `A sandbox of handler "${node.handler}" is not proven: ${outcome.message}`;
  throw new Refusal('prove', { what, reason: outcome.reason });
}

/** Pods that name no handler must start, on the host's kernel. */
export async function proveRunc(node: Node, step: 'quiet' | 'prove', timeoutMs = PROVE_MS): Promise<void> {
  const outcome = await patientProbe({ ...node, handler: '' }, timeoutMs);
  if (outcome.kind === 'failed' && outcome.reason === 'GuestIsHostKernel') return;
  if (outcome.kind === 'proven')
    throw new Refusal(step, {
      what: "A pod without a RuntimeClass would run in gVisor: it is containerd's default handler here",
    });
  const what = `A sandbox of the default handler does not start on the host's kernel: ${outcome.message}`;
  throw new Refusal(step, { what, reason: 'NoSandboxStarts' });
}

async function patientProbe({ client, host, handler, because }: Node, timeoutMs: number): Promise<Outcome> {
  const deadlineMs = performance.now() + timeoutMs;
  const signal = AbortSignal.timeout(PROVE_MS);
  for (;;) {
    const options = { client, host, handler, now: () => performance.now(), owner: OWNER, signal };
    const outcome = await runProbe(options);
    const isFinal = ['proven', 'failed', 'stuck'].includes(outcome.kind);
    if (isFinal || performance.now() >= deadlineMs) return outcome;
    because(outcome.message);
    await timers.setTimeout(PROVE_PAUSE_MS);
  }
}

/** Removes those of an installer that was killed: gVisor would be in use until the agent's next sweep. */
export async function sweepProbes(client: CriClient): Promise<void> {
  // At the time 0 no probe is old, which spares those of the agent.
  const options = { client, owner: OWNER, wallMs: () => 0 };
  const signal = AbortSignal.timeout(SWEEP_MS);
  await sweepSandboxes(options, signal);
  await sweepContainers(options, signal);
}
