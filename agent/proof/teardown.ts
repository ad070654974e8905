import type { CriClient } from '../host/cri-client.ts';
import { CriError } from '../host/cri-error.ts';
import { impossible, type Outcome } from './outcome.ts';
import { isProbe, PROBE_LABELS } from './sandbox-config.ts';
import { isGone, silenceOf } from './watch.ts';

/** What removes a sandbox: the connection, and how long one call may take. */
export type TeardownOptions = { readonly client: CriClient; readonly teardownTimeoutMs?: number };

const TEARDOWN_TIMEOUT_MS = 10_000;
/** Of an earlier probe's sandbox that does not go nothing is concluded, so that it is not waited for as long. */
const EARLIER_TEARDOWN_MS = 3_000;

/**
 * What an agent knows of its sandboxes that did not go away: `stuck` runs on, although nobody disturbed it, `left` says
 * nothing of other sandboxes.
 */
export type Leftovers = Map<string, 'stuck' | 'left'>;

/**
 * Stops and removes a sandbox; an outcome when it runs on in spite of that, which pods would suffer from as
 * well. One that is dead and does not let itself be removed (the kubelet killed it while its container was
 * starting, or runsc vanished while it was made) is left for the next sweep. So is a sandbox of an earlier
 * probe that containerd at once refuses to stop: one that a containerd killed in the middle of a probe finds
 * again seems ready, and its container "in state created" takes no signal. It says nothing about pods.
 */
export async function tearDown(
  options: TeardownOptions,
  id: string,
  probe: 'own' | 'earlier' = 'own',
): Promise<Outcome | undefined> {
  const { client, teardownTimeoutMs = TEARDOWN_TIMEOUT_MS } = options;
  for (const method of ['StopPodSandbox', 'RemovePodSandbox']) {
    try {
      await client.call(method, { podSandboxId: id }, { timeoutMs: teardownTimeoutMs });
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      if (error.kind === 'absent') continue;
      if (error.kind === 'unreachable') return impossible(error);
      if (error.kind === 'late' && (await silenceOf(client)) !== undefined) return impossible(error);
      if ((probe === 'earlier' && error.kind === 'refused') || (await isGone(client, id))) return undefined;
      return {
        kind: 'stuck',
        reason: 'SandboxStuck',
        message: `a probe's sandbox does not go away, ${method} failed: ${error.message}`,
      };
    }
  }
  return undefined;
}

/** What is dead already goes at once, or not at all. */
export const DEAD_TEARDOWN_MS = 1_000;

/** So many dead sandboxes may be left that do not go away, each a process; then no further one is started. */
const MOST_LEFT = 5;

/**
 * Removes every sandbox that a probe of this agent or of a predecessor left; who is in a hurry leaves dead ones to a
 * later sweep, since one that containerd cannot remove takes a second. An outcome when one is stuck: another must not
 * be started beside it. Throws when containerd does not list them.
 */
export async function sweep(
  options: TeardownOptions & { readonly hurry?: boolean; readonly leftovers?: Leftovers | undefined },
  signal?: AbortSignal,
): Promise<Outcome | undefined> {
  const { leftovers = new Map() } = options;
  const items = await listProbes(options.client, signal);
  for (const id of leftovers.keys()) if (!items.some((item) => item.id === id)) leftovers.delete(id);
  const { dead = [], ready = [] } = Object.groupBy(items, ({ id, state }) =>
    state === 'SANDBOX_READY' && leftovers.get(id) !== 'left' ? 'ready' : 'dead',
  );
  let left: Outcome | undefined;
  for (const { id } of ready) {
    signal?.throwIfAborted();
    const outcome = await tearDown(within(options, EARLIER_TEARDOWN_MS), id, 'earlier');
    // Whatever happened to one of a predecessor's: whether sandboxes end, a probe of now tells.
    if (outcome?.kind === 'stuck' && leftovers.get(id) !== 'stuck') leftovers.set(id, 'left');
    else left = outcome ?? left;
  }
  if (!options.hurry || dead.length >= MOST_LEFT) {
    const limits = within(options, DEAD_TEARDOWN_MS);
    const ends = await Promise.all(dead.map(({ id }) => tearDown(limits, id, 'earlier')));
    left ??= ends.find((end) => end?.kind === 'impossible');
  }
  if (left !== undefined || items.length < MOST_LEFT) return left;
  const kept = await listProbes(options.client, signal);
  if (kept.length < MOST_LEFT) return undefined;
  const ids = kept.map(({ id }) => id.slice(0, 13)).join(', ');
  const message = `containerd cannot remove ${kept.length} dead sandboxes of earlier probes: ${ids}`;
  return { kind: 'impossible', reason: 'ProbesLeft', message };
}

function within(options: TeardownOptions, mostMs: number): TeardownOptions {
  return { ...options, teardownTimeoutMs: Math.min(options.teardownTimeoutMs ?? mostMs, mostMs) };
}

type Listed = {
  readonly id: string;
  readonly state: string;
  readonly labels: Readonly<Record<string, string>>;
};

async function listProbes(client: CriClient, signal?: AbortSignal): Promise<readonly Listed[]> {
  const filter = { labelSelector: PROBE_LABELS };
  const { items } = await client.call<{ items: Listed[] }>('ListPodSandbox', { filter }, { signal });
  return items.filter(({ labels }) => isProbe(labels));
}
