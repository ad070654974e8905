import { seconds } from '../../lib/report/format.ts';
import { pass } from '../base/progress.ts';
import { isLoaded } from '../containerd/loaded.ts';
import { proveCandidate } from './candidate.ts';
import type { Step } from './step.ts';

/** A release that cannot boot here costs no restart and no pod. */
export const preProve: Step = {
  name: 'pre-prove',
  async do({ node, journal, wanted }) {
    if (wanted === undefined) return undefined;
    const isCurrent = journal?.installed?.generation === wanted.directory;
    if (isCurrent && (await isLoaded(node.client, node.handler, wanted))) return undefined;
    const bootMs = await proveCandidate(node, wanted);
    return pass(`${wanted.release} booted beside the handler in ${seconds(bootMs)}, and ran a program`);
  },
};
