import { errorLine } from '../../lib/base/sanitize.ts';
import { type Node, pass, Refusal, type StepOf } from '../base/node.ts';
import { isDown } from '../containerd/restart.ts';
import {
  type Installed,
  type Journal,
  type Pending,
  readOwnProcess,
  removeJournal,
  writeJournal,
} from '../journal/journal.ts';
import { failureOf } from '../journal/retry.ts';
import { type Change, type RestartEvents, stepsOf } from './steps.ts';

/**
 * The steps in `first` touch nothing that is live; those of containerd's configuration follow. The journal
 * names each before it begins. If one fails, all is undone, and the {@link Refusal} is thrown.
 */
export async function make(node: Node, change: Change, first: readonly StepOf[] = []): Promise<void> {
  const { root, handler, report } = node;
  const { journal, next, containerd } = change;
  const { pending: before, failure: lately, ...kept }: Journal = journal ?? { format: 1, handler };
  const { generation, written } = next ?? journal?.installed ?? (before as Installed);
  const removes = next === undefined ? true : undefined;
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
  const lost: string[] = [];
  const restarts: RestartEvents = {
    restart: () => record({ restarts: pending.restarts + 1 }),
    lost: (pods) => void lost.push(...pods),
  };
  const steps = [...first, ...stepsOf(node, change, restarts)];
  for (const step of steps) {
    try {
      await record({ step: step.name });
      node.because('it has begun', step.name);
      const line = await step.do();
      if (line !== undefined) report({ step: step.name, ...line });
    } catch (cause) {
      const error =
        cause instanceof Refusal ? cause : new Refusal(step.name, { what: errorLine(cause), cause });
      const left = await undo(node, steps).then(() => undefined, errorLine);
      const what = `${errorLine(error)}. The node could not be restored either (${left}): the next run tries again`;
      const told = left === undefined ? error : new Refusal('restart', { what, cause });
      const failure = failureOf(lately, pending, told);
      // On a full disk the journal stays as of the last step, which is still true.
      await writeJournal(root, { ...kept, failure, ...(left && { pending }) }).catch(() => {});
      throw told;
    }
  }
  const { installed, previous, staged, left } = kept;
  const loss = lost.length === 0 ? undefined : lossOf(lost);
  const failure = loss && failureOf(lately, pending, loss);
  // From here on a removal goes on, and nothing of it comes back.
  if (next === undefined)
    await writeJournal(root, { format: 1, handler, staged, pending: { ...pending, step: 'stage' } });
  else
    await writeJournal(root, {
      format: 1,
      handler,
      installed: next,
      previous: installed?.generation === generation ? previous : installed,
      left: change.leaves ?? (left === generation ? undefined : left),
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

/** In the order in which the steps were made: containerd has to read the old text. */
async function undo(node: Node, steps: readonly StepOf[]): Promise<void> {
  let isUndone = false;
  node.because('it has begun', 'undo');
  for (const { undo } of steps) if (await undo?.()) isUndone = true;
  if (isUndone) node.report({ step: 'undo', ...pass('the node works as before') });
}

/** To the last commit of each handler: all texts before containerd starts or restarts, whatever ended it. */
export async function takeBack(node: Node, journals: readonly Journal[]): Promise<void> {
  const all = journals.flatMap((journal) => {
    const { handler, pending } = journal;
    if (pending === undefined) return [];
    const change = {
      containerd: { pid: 0, program: '', command: '', unit: pending.unit },
      next: pending.removes ? undefined : pending,
      journal,
    };
    const record = {
      restart: () => {
        const news = { ...pending, restarts: pending.restarts + 1 };
        return writeJournal(node.root, { ...journal, pending: news });
      },
      lost: () => {},
    };
    return [{ journal, pending, steps: stepsOf({ ...node, handler }, change, record) }];
  });
  const problems: unknown[] = [];
  node.because('it has begun', 'undo');
  for (const name of ['write', 'restart'])
    for (const { steps } of all) {
      const { undo } = steps.find((each) => each.name === name) ?? {};
      // A text that somebody edited does not keep containerd down, but is no reason to restart it.
      if (problems.length === 0 || (await isDown(node.client)))
        await undo?.().catch((error) => problems.push(error));
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
