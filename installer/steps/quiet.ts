import timers from 'node:timers/promises';
import { errorLine } from '../../lib/base/sanitize.ts';
import { RunscPrograms } from '../../lib/runsc/program.ts';
import { judgeSandboxes, type Observation } from '../../lib/sandboxes/judge.ts';
import { SandboxScanner } from '../../lib/sandboxes/scanner.ts';
import type { Node } from '../base/node.ts';
import { pass } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { needsRestart } from '../containerd/loaded.ts';
import { proveRunc } from './probes.ts';
import type { Step } from './step.ts';

/** Bounds the wait for a moment at which a restart of containerd disturbs no pod. */
const QUIET_MS = 60_000;
const PAUSE_MS = 1_000;
/** A shim has 5 s to answer, and the last scan may begin just before the deadline. */
const SCAN_MS = 20_000;

/** Waits until all pods would survive a restart of containerd; throws a {@link Refusal} that says what would not. */
export async function waitForQuiet({ client, host, because }: Node): Promise<void> {
  const signal = AbortSignal.timeout(QUIET_MS + SCAN_MS);
  const scanner = new SandboxScanner({
    client,
    host,
    sentries: () => new Map(),
    programs: new RunscPrograms(),
    now: () => performance.now(),
    wallMs: Date.now,
  });
  const deadlineMs = performance.now() + QUIET_MS;
  try {
    for (;;) {
      const causes = await whyNotQuiet(scanner, signal);
      if (causes.length === 0) return;
      because(causes.join('; '));
      if (performance.now() > deadlineMs)
        throw new Refusal('quiet', {
          what: `A restart of containerd is not safe now: ${causes.join('; ')}`,
          next: 'kubectl gvisor-ready why node/NODE says what to do; nothing was changed',
        });
      await timers.setTimeout(PAUSE_MS);
    }
  } finally {
    scanner.close();
  }
}

async function whyNotQuiet(scanner: SandboxScanner, signal: AbortSignal): Promise<readonly string[]> {
  const observation = await scanner.scan(signal).catch(errorLine);
  if (typeof observation === 'string') return [observation];
  const { restart } = judgeSandboxes(observation, new Map(), false);
  return restart.state === 'safe' ? unanswered(observation) : restart.because;
}

/** Names shims that do not count as silent yet, because their time is not over. */
function unanswered({ bundles, responses }: Observation): readonly string[] {
  return [...bundles.values()].flatMap(({ id, address }) => {
    const response = address && responses.get(address.socket);
    const isOpen = address !== undefined && response?.kind !== 'answered' && response?.kind !== 'absent';
    return isOpen ? [`the shim of ${id.slice(0, 12)} has not answered yet`] : [];
  });
}

/** It comes before the write, so that a node that is never quiet keeps its files. */
export const quiet: Step = {
  name: 'quiet',
  async do({ node, wanted }) {
    if (!(await needsRestart(node, wanted))) return undefined;
    await proveRunc(node, 'quiet', QUIET_MS);
    await waitForQuiet(node);
    return pass('runc works, every shim answers, and no container is being started');
  },
};
