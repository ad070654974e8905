import type { TestContext } from 'node:test';
import type { CriClient } from '../../../agent/host/cri-client.ts';
import type { Outcome } from '../../../agent/proof/outcome.ts';
import { type ProofOptions, prove } from '../../../agent/proof/proof.ts';
import { tempHost } from '../host/temp-host.ts';
import type { Script } from './containerd-scripts.ts';
import { type FakeContainerd, fakeContainerd } from './fake-containerd.ts';

/** What a proof reads of the host. */
export const HOST_FILES = {
  '/proc/version': 'Linux version 6.8.0 (buildd@lcy02) #45-Ubuntu SMP\n',
  '/proc/sys/kernel/random/boot_id': '6d0aa4a7-5e1a-4e7a-9f0f-1d6a0d6f2b11\n',
};
/** A signal that is never aborted. */
export const NEVER = new AbortController().signal;

/** A containerd, a client of it, and proofs with it. */
export type Scene = {
  readonly containerd: FakeContainerd;
  readonly client: CriClient;
  readonly options: ProofOptions;
  readonly run: (signal?: AbortSignal) => Promise<Outcome>;
};

/** A proof with a containerd that does what the scripts say. */
export async function scene(
  context: TestContext,
  scripts: Readonly<Record<string, Script>> = {},
  { answerMs, ...changes }: Partial<ProofOptions> & { readonly answerMs?: number } = {},
): Promise<Scene> {
  const { containerd, client } = await fakeContainerd(context, scripts, answerMs);
  const host = await tempHost(context, HOST_FILES);
  const options = {
    client,
    handler: 'runsc',
    image: 'agent',
    host,
    now: () => performance.now(),
    bootTimeoutMs: 10_000,
    teardownTimeoutMs: 10_000,
    ...changes,
  };
  return { containerd, client, options, run: (signal = NEVER) => prove(options, signal) };
}

/** An outcome in two words. */
export const brief = (outcome: Outcome) =>
  outcome.kind === 'proven' ? `proven ${outcome.guestKernel}` : `${outcome.kind} ${outcome.reason}`;
