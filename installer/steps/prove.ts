import { pass } from '../base/progress.ts';
import { proveHandler, proveRunc } from './probes.ts';
import type { Step } from './step.ts';

/** The commit follows it. */
export const prove: Step = {
  name: 'prove',
  async do({ node, target }) {
    if (node.noRestart) return undefined;
    const seen = target && (await proveHandler(node));
    await proveRunc(node, 'prove');
    return pass(seen === undefined ? 'runc works' : `${seen}; runc works as well`);
  },
  async undo({ node, journal, isTouched }) {
    if (node.noRestart || !isTouched) return false;
    if (journal?.installed !== undefined) await proveHandler(node);
    await proveRunc(node, 'prove');
    return true;
  },
};
