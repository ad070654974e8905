import { type CriClient, CriError } from '../host/cri-client.ts';
import { impossible, type Outcome } from './outcome.ts';
import { isProbe, PROBE_LABELS } from './sandbox-config.ts';
import { isGone, silenceOf } from './watch.ts';

/** What removes a sandbox: the connection, and how long one call may take. */
export type TeardownOptions = { readonly client: CriClient; readonly teardownTimeoutMs?: number };

const TEARDOWN_TIMEOUT_MS = 10_000;

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
const DEAD_TEARDOWN_MS = 3_000;

/** So many dead sandboxes may be left that do not go away, each a process; then no further one is started. */
const MOST_LEFT = 5;

/**
 * Removes every sandbox that a probe of this agent or of a predecessor left; who is in a hurry leaves dead ones to a
 * later sweep, since one that containerd cannot remove takes seconds. An outcome when one runs on: another must not
 * be started beside it. Throws when containerd does not list them.
 */
export async function sweep(
  options: TeardownOptions & { readonly hurry?: boolean },
  signal?: AbortSignal,
): Promise<Outcome | undefined> {
  const items = await listProbes(options.client, signal);
  const { dead = [], ready = [] } = Object.groupBy(items, ({ state }) =>
    state === 'SANDBOX_READY' ? 'ready' : 'dead',
  );
  const now = options.hurry && dead.length < MOST_LEFT ? ready : items;
  const deadMs = Math.min(options.teardownTimeoutMs ?? DEAD_TEARDOWN_MS, DEAD_TEARDOWN_MS);
  let left: Outcome | undefined;
  for (const item of now) {
    signal?.throwIfAborted();
    const limits = ready.includes(item) ? options : { ...options, teardownTimeoutMs: deadMs };
    left = (await tearDown(limits, item.id, 'earlier')) ?? left;
  }
  if (left !== undefined || items.length < MOST_LEFT) return left;
  const kept = await listProbes(options.client, signal);
  if (kept.length < MOST_LEFT) return undefined;
  const ids = kept.map(({ id }) => id.slice(0, 13)).join(', ');
  const message = `containerd cannot remove ${kept.length} dead sandboxes of earlier probes: ${ids}`;
  return { kind: 'impossible', reason: 'ProbesLeft', message };
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
