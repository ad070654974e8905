import { type Node, pass, type StepOf, skipped } from '../base/node.ts';
import { copiesIn, type Edit, planEdits, removeDrafts, writeEdits } from '../config/edits.ts';
import type { ContainerdProcess } from '../containerd/restart.ts';
import type { Installed, Journal, Written } from '../journal/journal.ts';
import { generationAt } from '../release/release.ts';
import { proveHandler, proveRunc } from './prove.ts';
import { QUIET_MS, waitForQuiet } from './quiet.ts';
import { load, needsRestart } from './restart.ts';
import { validate } from './validate.ts';

/** A change of what a handler runs. */
export type Change = {
  readonly containerd: ContainerdProcess;
  /** The handler's journal before it. */
  readonly journal: Journal | undefined;
  /** Undefined takes the handler away. */
  readonly next: Installed | undefined;
  /** The file whose table of handlers counts. */
  readonly main?: string;
  /** The generation that a person leaves for good. */
  readonly leaves?: string | undefined;
};

/** Called when a restart begins, and with the pods that it ended. */
export type RestartEvents = {
  readonly restart: () => Promise<void>;
  readonly lost: (pods: readonly string[]) => void;
};

/** The steps from containerd's files to the proof. */
export function stepsOf(
  node: Node,
  { containerd, journal, next, main }: Change,
  record: RestartEvents,
): readonly StepOf[] {
  const { root, noRestart } = node;
  const last = journal?.installed;
  const texts = textsOf(journal, next);
  let wanted = next && generationAt(next.generation);
  let edits: readonly Edit[] = [];
  // What was interrupted may have been done.
  let isWritten = journal?.pending !== undefined;
  let isRestarted = isWritten;
  let isTouched = false;
  const recordRestart = () => {
    isRestarted = true;
    return record.restart();
  };
  return [
    {
      name: 'validate',
      do: async () => {
        await removeDrafts(node, texts);
        edits = await planEdits(node, next?.written, { texts, main });
        wanted = (await validate(node, containerd, { edits, wanted })) ?? wanted;
        for (const text of await copiesIn(node, edits)) node.report({ step: 'validate', ...skipped(text) });
        if (edits.length === 0 && !(await needsRestart(node, wanted))) return undefined;
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
        if (edits.length === 0) return undefined;
        isWritten = true;
        await writeEdits(root, edits);
        if (next === undefined) return pass(`took the handler out of "${edits[0]?.file}"`);
        return pass(`"${next.written.file}" names the generation`);
      },
      undo: async () => {
        if (!isWritten) return false;
        await removeDrafts(node, texts);
        const back = await planEdits(node, last?.written, { texts });
        await writeEdits(root, back);
        if (back.length > 0) isTouched = true;
        return isTouched;
      },
    },
    {
      name: 'restart',
      do: async () => {
        const { text, lost } = await load(node, containerd, { wanted, recordRestart });
        record.lost(lost);
        return text;
      },
      undo: async () => {
        if (!isRestarted) return isTouched;
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

/** That may be in containerd's files: of this run, of an interrupted one, and of the last commit. */
export function textsOf(journal: Journal | undefined, next: Installed | undefined): readonly Written[] {
  return [next, journal?.pending, journal?.installed].flatMap((each) => each?.written ?? []);
}
