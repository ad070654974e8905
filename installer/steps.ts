import type { ContainerdProcess } from './containerd.ts';
import { type Edit, foundIn, holds, planEdits, removeDrafts, writeEdits } from './edits.ts';
import type { Installed, Journal, Written } from './journal.ts';
import { type Node, pass, Refusal, type StepOf } from './node.ts';
import { proveHandler, proveRunc } from './prove.ts';
import { QUIET_MS, waitForQuiet } from './quiet.ts';
import { generationAt } from './release.ts';
import { load, needsRestart } from './restart.ts';
import { validate } from './validate.ts';

/** A change of what a handler runs. */
export type Change = {
  readonly containerd: Pick<ContainerdProcess, 'program' | 'unit'>;
  /** The handler's journal before it. */
  readonly journal: Journal | undefined;
  /** Undefined takes the handler away. */
  readonly next: Installed | undefined;
  /** The generation that a person leaves for good. */
  readonly leaves?: string | undefined;
};

/** The steps from containerd's files to the proof. */
export function stepsOf(
  node: Node,
  { containerd, journal, next }: Change,
  recordRestart: () => Promise<void>,
): readonly StepOf[] {
  const { root, noRestart } = node;
  const last = journal?.installed;
  const wanted = next && generationAt(next.generation);
  const texts = [next, journal?.pending, last].map((each) => each?.written);
  let edits: readonly Edit[] = [];
  let isWritten = journal?.pending !== undefined;
  let isTouched = false;
  return [
    {
      name: 'validate',
      do: async () => {
        const old = await presentText(node, journal, next);
        await removeDrafts(node, texts);
        edits = await planEdits(node, old, next?.written);
        if (edits.length === 0 && !(await needsRestart(node, wanted))) return undefined;
        await validate(node, containerd, edits, wanted);
        return pass('containerd reads the new configuration, and only the handler differs');
      },
    },
    {
      name: 'quiet',
      do: async () => {
        if (!(await needsRestart(node, wanted))) return undefined;
        await proveRunc(node, 'quiet', QUIET_MS);
        await waitForQuiet(node);
        return pass('runc works, every shim answers, and no container is being started');
      },
    },
    {
      name: 'write',
      do: async () => {
        isWritten = true;
        await writeEdits(root, edits);
        const [first] = edits;
        if (first === undefined) return undefined;
        if (next === undefined) return pass(`took the handler out of "${first.file}"`);
        return pass(`"${next.written.file}" names the generation`);
      },
      undo: async () => {
        if (!isWritten) return false;
        const now = await presentText(node, journal, next);
        await removeDrafts(node, texts);
        const back = await planEdits(node, now, last?.written);
        await writeEdits(root, back);
        if (back.length > 0) isTouched = true;
        return isTouched;
      },
    },
    {
      name: 'restart',
      do: async () => {
        const { text, ended } = await load(node, containerd, { wanted, recordRestart });
        if (ended.length === 0) return text;
        const pods = `${ended.slice(0, 5).join(', ')}${ended.length > 5 ? ', …' : ''}`;
        const next = 'See kubectl describe pod for why, before you try again';
        throw new Refusal('restart', `Pods that ran before the restart do not run now: ${pods}. ${next}`);
      },
      undo: async () => {
        const before = last && generationAt(last.generation);
        const { text } = await load(node, containerd, { wanted: before, recordRestart, isUrgent: true });
        if (text.state === 'pass') {
          isTouched = true;
          node.report({ step: 'undo', ...text });
        }
        return isTouched;
      },
    },
    {
      name: 'prove',
      do: async () => {
        if (noRestart) return undefined;
        const seen = next && (await proveHandler(node));
        await proveRunc(node, 'prove');
        return pass(seen === undefined ? 'runc works' : `${seen}; runc works as well`);
      },
      undo: async () => {
        if (noRestart || !isTouched) return false;
        if (last !== undefined) await proveHandler(node);
        await proveRunc(node, 'prove');
        return true;
      },
    },
  ];
}

/** Of this run, of an interrupted one, or of the last commit. */
export async function presentText(
  { root, handler }: Pick<Node, 'root' | 'handler'>,
  journal: Journal | undefined,
  next: Installed | undefined,
): Promise<Written | undefined> {
  const { pending, installed } = journal ?? {};
  for (const each of [next, pending, installed])
    if (each !== undefined && (await holds(root, each.written))) return each.written;
  // Without a removal something else took the text out, which is refused if it is to be replaced.
  const isRemoval = next === undefined || pending?.removes;
  const isGone =
    installed === undefined || (await foundIn({ root, handler }, installed.written.file)) === undefined;
  return isRemoval && isGone ? undefined : installed?.written;
}
