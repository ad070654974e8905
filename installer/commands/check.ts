import type { Node } from '../base/node.ts';
import { preflight } from '../preflight/preflight.ts';
import { refuseRisks } from '../preflight/risks.ts';
import { refuseDamage } from '../release/damage.ts';
import { GENERATIONS, generationAt } from '../release/generation.ts';
import { rehearse } from './plan.ts';

/** It also has containerd read a draft with the handler, so that an installation would not be refused later. */
export async function check(node: Node): Promise<void> {
  const seen = await preflight(node);
  if (!node.noRestart) await refuseRisks(node);
  const { installed } = seen.journal ?? {};
  const generation = generationAt(installed?.generation ?? ANY_GENERATION);
  const [edit] = await rehearse(node, seen, generation);
  const what = `handler "${node.handler}"`;
  const text =
    edit === undefined ? `has the ${what} as it was written` : `would read the ${what} from "${edit.file}"`;
  node.report({ step: 'validate', state: 'pass', text: `containerd ${text}, and nothing else changes` });
  if (installed !== undefined) await refuseDamage(node.root, generation);
}

/** Stands for a release that is not known yet. */
const ANY_GENERATION = `${GENERATIONS}/release-000000000000`;
