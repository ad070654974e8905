import type { Node } from '../base/node.ts';
import { Refusal } from '../base/refusal.ts';
import { needsRestart } from '../containerd/loaded.ts';
import { preflight } from '../preflight/preflight.ts';
import { refuseRisks } from '../preflight/risks.ts';
import { generationAt } from '../release/generation.ts';
import { takeBackOthers } from '../steps/take-back.ts';
import { commit } from './commit.ts';
import { plan } from './plan.ts';

/** Goes to the generation before the last commit, with the same steps and proof. */
export async function rollback(node: Node): Promise<void> {
  const seen = await preflight(node);
  const { previous, installed } = seen.journal ?? {};
  if (previous === undefined)
    throw new Refusal('journal', {
      what: 'There is no earlier generation',
      next: 'To take gVisor away, use remove',
    });
  const generation = generationAt(previous.generation);
  if (await needsRestart(node, generation)) await refuseRisks(node);
  if (await takeBackOthers(node)) return rollback(node);
  const target = await plan(node, seen, generation);
  await commit(node, { ...seen, target, leaves: installed?.generation });
}
