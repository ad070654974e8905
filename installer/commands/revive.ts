import type { Node } from '../base/node.ts';
import { isDown, waitWhileStarting } from '../containerd/restart.ts';
import { readJournals } from '../journal/journal.ts';
import { removeCandidates } from '../steps/candidate.ts';
import { sweepProbes } from '../steps/probes.ts';
import { takeBack } from '../steps/take-back.ts';

/** Takes back the old text first if containerd is down, and then it starts. */
export async function revive(node: Omit<Node, 'containerdConfig'>, containerdConfig: string): Promise<void> {
  const { journals } = await readJournals(node.root);
  const pending = journals.filter((each) => each.pending !== undefined);
  if (pending.length === 0) return;
  await removeCandidates(node); // one may keep containerd from starting
  const [{ unit } = {}] = pending.map((each) => each.pending);
  if (unit !== undefined) await waitWhileStarting({ ...node, containerdConfig }, { program: '', unit });
  if (await isDown(node.client)) {
    await takeBack({ ...node, containerdConfig }, pending);
    await removeCandidates(node); // their records
  }
  await sweepProbes(node.client).catch(() => {}); // a containerd that does not respond is refused later
}
