import { isProbe } from '../../lib/proof/sandbox.ts';
import type { Node } from '../base/node.ts';
import { pass, skipped } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { copiesIn } from '../config/edits.ts';
import { needsRestart } from '../containerd/loaded.ts';
import { readJournal, removeJournal } from '../journal/journal.ts';
import { refuseRetry } from '../journal/retry.ts';
import { patientStatus, readPresent } from '../preflight/preflight.ts';
import { refuseDefault, refuseRisks } from '../preflight/risks.ts';
import { make } from '../steps/make.ts';
import { takeBackOthers } from '../steps/take-back.ts';
import { removePrograms, removeUnused } from './unused.ts';

/** Changes the configuration first, and then removes the programs that nothing needs. */
export async function remove(
  node: Node,
  { force, retryNow }: { readonly force: boolean; readonly retryNow: boolean },
): Promise<void> {
  const { root, handler, report } = node;
  const kept = await readJournal(root, handler); // one that cannot be read is refused before containerd is asked
  const seen = await readPresent(node, await patientStatus(node), kept);
  const { journal, dump } = seen;
  if (journal === undefined) {
    for (const text of await copiesIn(node, [])) report({ step: 'check', ...skipped(text) });
    const text = `handler "${handler}" is not installed by gvisor-ready-install`;
    return report({ step: 'commit', ...skipped(text) });
  }
  const { installed = journal.pending } = journal;
  if (installed !== undefined && !retryNow) refuseRetry(journal, { ...installed, removes: true });
  if (!force) await refusePods(node);
  if (await needsRestart(node, undefined)) {
    refuseDefault(handler, dump);
    await refuseRisks(node);
  }
  if (await takeBackOthers(node)) return remove(node, { force, retryNow });
  if (installed !== undefined) await make(node, { ...seen, target: undefined });
  await removePrograms(node, force);
  await removeJournal(root, handler);
  await removeUnused(node);
  report({ step: 'commit', ...pass(`handler "${handler}" is gone`) });
}

async function refusePods({ client, handler }: Node): Promise<void> {
  const pods = (await client.listSandboxes('SANDBOX_READY')).filter(
    (each) => each.runtimeHandler === handler && !isProbe(each),
  );
  if (pods.length === 0) return;
  const names = pods.slice(0, 5).map(({ metadata }) => `${metadata?.namespace}/${metadata?.name}`);
  throw new Refusal('quiet', {
    what: `Pods of handler "${handler}" still run (${names.join(', ')})`,
    next: 'Drain them first, or give --force: their containers would run on, but neither restart nor take exec',
  });
}
