import type { Node } from '../base/node.ts';
import { pass } from '../base/progress.ts';
import type { Installed } from '../journal/schema.ts';
import { generationAt } from '../release/generation.ts';
import { make } from '../steps/make.ts';
import type { Goal } from '../steps/run.ts';
import { removeUnused } from './unused.ts';

/** Makes the steps, and then no program stays that nothing needs. */
export async function commit(node: Node, goal: Goal & { readonly target: Installed }): Promise<void> {
  const { handler, noRestart, report } = node;
  await make(node, goal).finally(() => removeUnused(node));
  const { release } = generationAt(goal.target.generation);
  const text = noRestart
    ? `handler "${handler}" will run gVisor ${release} once containerd starts next, which is not proven`
    : `handler "${handler}" runs gVisor ${release}`;
  report({ step: 'commit', ...pass(text) });
}
