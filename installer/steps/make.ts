import { errorLine } from '../../lib/base/sanitize.ts';
import type { Node } from '../base/node.ts';
import { pass } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { writeJournal } from '../journal/journal.ts';
import { readOwnProcess } from '../journal/own-process.ts';
import { failureOf } from '../journal/retry.ts';
import type { Installed, Journal, Pending } from '../journal/schema.ts';
import { preProve } from './pre-prove.ts';
import { prove } from './prove.ts';
import { quiet } from './quiet.ts';
import { restart } from './restart.ts';
import { createRun, type Goal, type Run } from './run.ts';
import { stage } from './stage.ts';
import type { Step } from './step.ts';
import { validate } from './validate.ts';
import { write } from './write.ts';

/** They touch nothing that is live. */
const BESIDE: readonly Step[] = [stage, preProve];
const LIVE: readonly Step[] = [validate, quiet, write, restart, prove];

/**
 * Makes all steps. The journal names each before it begins. If one fails, all is undone, and the
 * {@link Refusal} is thrown.
 */
export async function make(node: Node, goal: Goal): Promise<void> {
  const { root, handler, report } = node;
  const { journal, target, containerd } = goal;
  const { pending: before, failure: lately, ...kept }: Journal = journal ?? { format: 1, handler };
  const { generation, written } = target ?? journal?.installed ?? (before as Installed);
  const removes = target === undefined ? true : undefined;
  const isSame = before?.generation === generation && before.removes === removes;
  let pending: Pending = {
    generation,
    written,
    removes,
    step: 'check',
    since: new Date().toISOString(),
    process: await readOwnProcess(root),
    unit: containerd.unit,
    restarts: isSame ? before.restarts : 0,
  };
  const record = async (news: Partial<Pending>) => {
    pending = { ...pending, ...news };
    await writeJournal(root, { ...kept, failure: lately, pending });
  };
  const run = createRun(node, goal, () => record({ restarts: pending.restarts + 1 }));
  const steps = target === undefined ? LIVE : [...BESIDE, ...LIVE];
  for (const step of steps) {
    try {
      await record({ step: step.name });
      node.because('it has begun', step.name);
      const line = await step.do(run);
      if (line !== undefined) report({ step: step.name, ...line });
    } catch (cause) {
      const error =
        cause instanceof Refusal ? cause : new Refusal(step.name, { what: errorLine(cause), cause });
      const told = await undo(run, steps).then(
        () => error,
        (left) => {
          const what = `${errorLine(error)}. The node could not be restored either (${errorLine(left)}): the next run tries again`;
          return new Refusal('restart', { what, cause });
        },
      );
      const isRestored = told === error;
      const failure = failureOf(lately, pending, told);
      // On a full disk the journal stays as of the last step, which is still true.
      await writeJournal(root, { ...kept, failure, ...(!isRestored && { pending }) }).catch(() => {});
      throw told;
    }
  }
  const { installed, previous, staged, left } = kept;
  const loss = run.lost.length === 0 ? undefined : lossOf(run.lost);
  const failure = loss && failureOf(lately, pending, loss);
  // From here on a removal goes on, and nothing of it comes back.
  if (target === undefined)
    await writeJournal(root, { format: 1, handler, staged, pending: { ...pending, step: 'stage' } });
  else
    await writeJournal(root, {
      format: 1,
      handler,
      installed: target,
      previous: installed?.generation === generation ? previous : installed,
      left: goal.leaves ?? (left === generation ? undefined : left),
      staged: staged?.filter((each) => each !== generation),
      failure,
    });
  if (loss !== undefined) throw loss;
}

/** To undo the change would bring no pod back, and restart containerd once more. */
function lossOf(pods: readonly string[]): Refusal {
  const names = `${pods.slice(0, 5).join(', ')}${pods.length > 5 ? ', …' : ''}`;
  const what = `The change is made and proven, but pods were lost in the restart of containerd: ${names}`;
  const next = 'See kubectl describe pod for why, before another node restarts';
  return new Refusal('restart', { what, next });
}

/** Undoes the steps in the order in which they were made: containerd has to read the old text. */
async function undo(run: Run, steps: readonly Step[]): Promise<void> {
  const { node } = run;
  let isUndone = false;
  node.because('it has begun', 'undo');
  for (const { undo } of steps) if (await undo?.(run)) isUndone = true;
  if (isUndone) node.report({ step: 'undo', ...pass('the node works as before') });
}
