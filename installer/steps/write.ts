import { pass } from '../base/progress.ts';
import { planEdits, removeDrafts, writeEdits } from '../config/edits.ts';
import type { Step } from './step.ts';

/** This is the first change of something that is live. */
export const write = {
  name: 'write',
  async do(run) {
    const { node, edits, target } = run;
    if (edits.length === 0) return undefined;
    run.isWritten = true;
    await writeEdits(node.root, edits);
    if (target === undefined) return pass(`took the handler out of "${edits[0]?.file}"`);
    return pass(`"${target.written.file}" names the generation`);
  },
  async undo(run) {
    const { node, journal, texts } = run;
    if (!run.isWritten) return false;
    await removeDrafts(node, texts);
    const back = await planEdits(node, journal?.installed?.written, { texts });
    await writeEdits(node.root, back);
    if (back.length > 0) run.isTouched = true;
    return run.isTouched;
  },
} satisfies Step;
