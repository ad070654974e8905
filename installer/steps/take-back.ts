import type { Node } from '../base/node.ts';
import { pass } from '../base/progress.ts';
import { refuseOtherFiles } from '../config/handler-config.ts';
import { isDown } from '../containerd/restart.ts';
import { readJournals, removeJournal, writeJournal } from '../journal/journal.ts';
import type { Journal } from '../journal/schema.ts';
import { restart } from './restart.ts';
import { createRun } from './run.ts';
import { write } from './write.ts';

/** Goes back to the last commit of each handler, with all texts before containerd starts or restarts, whatever ended it. */
export async function takeBack(node: Node, journals: readonly Journal[]): Promise<void> {
  const all = journals.flatMap((journal) => {
    const { handler, pending } = journal;
    if (pending === undefined) return [];
    const goal = {
      containerd: { pid: 0, program: '', command: '', unit: pending.unit },
      target: pending.removes ? undefined : pending,
      journal,
    };
    const recordRestart = () =>
      writeJournal(node.root, { ...journal, pending: { ...pending, restarts: pending.restarts + 1 } });
    return [{ journal, pending, run: createRun({ ...node, handler }, goal, recordRestart) }];
  });
  const problems: unknown[] = [];
  node.because('it has begun', 'undo');
  for (const step of [write, restart])
    for (const { run } of all) {
      // A text that somebody edited does not keep containerd down, but is no reason to restart it.
      if (problems.length === 0 || (await isDown(node.client)))
        await step.undo(run).catch((error) => problems.push(error));
    }
  if (problems.length > 0) throw problems[0];
  for (const { journal, pending } of all) {
    const { pending: _, ...kept } = journal;
    const { handler, installed, previous, staged, failure } = kept;
    if ([installed, previous, staged, failure].every((each) => each === undefined))
      await removeJournal(node.root, handler);
    else await writeJournal(node.root, kept);
    const verb = pending.removes && installed === undefined ? 'finished' : 'took back';
    const what = `${verb} the ${pending.removes ? 'removal' : 'installation'}`;
    const text = `${what} that was interrupted in step ${pending.step}, of handler "${handler}"`;
    node.report({ step: 'undo', ...pass(text) });
  }
}

/**
 * This run may restart containerd, which would load what an interrupted run for another handler has left. Resolves with
 * whether there was any: containerd and its files may be others then than the run has seen.
 */
export async function takeBackOthers(node: Node): Promise<boolean> {
  const others = await interruptedOthers(node);
  for (const journal of others) await refuseOtherFiles({ ...node, handler: journal.handler }, journal);
  await takeBack(node, others);
  return others.length > 0;
}

export async function interruptedOthers(node: Node): Promise<readonly Journal[]> {
  const { journals } = await readJournals(node.root);
  return journals.filter(({ handler, pending }) => handler !== node.handler && pending !== undefined);
}
