import type { Node } from '../base/node.ts';
import { skipped } from '../base/progress.ts';
import { diffOf } from '../config/edits.ts';
import { needsRestart } from '../containerd/loaded.ts';
import { refuseRetry } from '../journal/retry.ts';
import { type Preflight, preflight } from '../preflight/preflight.ts';
import { refuseRisks } from '../preflight/risks.ts';
import { type Generation, generationOf } from '../release/generation.ts';
import { readRelease } from '../release/release.ts';
import { interruptedOthers, takeBackOthers } from '../steps/take-back.ts';
import { commit } from './commit.ts';
import { flagsFor, plan, rehearse } from './plan.ts';

export type InstallOptions = {
  /** A directory of this machine. */
  readonly release: string;
  /** Flags of runsc, without dashes. */
  readonly flags: ReadonlyMap<string, string>;
  readonly dryRun: boolean;
  /** Also for a release that was left by a rollback. */
  readonly retryNow: boolean;
};

/**
 * Resolves once a sandbox was proven through the handler. Throws a {@link Refusal} else, and the node works
 * as before. An interrupted installation is finished, or replaced.
 */
export async function install(node: Node, options: InstallOptions): Promise<void> {
  const release = await readRelease(options.release);
  const seen = await preflight(node);
  const flags = flagsFor(seen.driver, options.flags);
  const generation = generationOf(release, flags);
  if (!options.retryNow) refuseRetry(seen.journal, { generation: generation.directory });
  if (await needsRestart(node, generation)) await refuseRisks(node);
  if (options.dryRun) return describe(node, seen, generation);
  if (await takeBackOthers(node)) return install(node, options);
  const target = await plan(node, seen, generation);
  await commit(node, { ...seen, target, source: { directory: options.release, release, flags } });
}

/** Says what an installation would do, and does nothing. */
async function describe(node: Node, seen: Preflight, generation: Generation): Promise<void> {
  const { report } = node;
  for (const { handler } of await interruptedOthers(node)) {
    const text = `would first take back what was interrupted for handler "${handler}"`;
    report({ step: 'undo', ...skipped(text) });
  }
  report({ step: 'stage', ...skipped(`would install ${generation.directory}`) });
  for (const edit of await rehearse(node, seen, generation)) {
    const verbatim = Buffer.from(diffOf(edit), 'latin1').toString();
    report({ step: 'write', ...skipped(`would change "${edit.file}":`), verbatim });
  }
  const restarts = await needsRestart(node, generation);
  report({ step: 'restart', ...skipped(`would restart containerd: ${restarts ? 'yes' : 'no'}`) });
}
