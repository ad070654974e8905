import { pass, skipped } from '../base/progress.ts';
import { copyRelease } from '../release/copy.ts';
import { refuseDamage } from '../release/damage.ts';
import type { Step } from './step.ts';

/** Copies the programs and their runsc.toml. After a failure a new generation is gone, and nothing has named it. */
export const stage: Step = {
  name: 'stage',
  async do({ node: { root }, source, wanted }) {
    if (wanted === undefined) return undefined;
    if (source === undefined) {
      await refuseDamage(root, wanted);
      return undefined;
    }
    const { directory, release, flags } = source;
    const copied = await copyRelease(directory, release, { root, generation: wanted, flags });
    return copied === 0
      ? skipped(`${wanted.directory} is there, unchanged`)
      : pass(`${wanted.directory}, files: ${copied}`);
  },
};
