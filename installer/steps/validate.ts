import { errorLine } from '../../lib/base/sanitize.ts';
import { readContainerdConfig } from '../../lib/containerd/config.ts';
import { tableAt } from '../../lib/containerd/toml.ts';
import type { Node } from '../base/node.ts';
import { pass, skipped } from '../base/progress.ts';
import { Refusal } from '../base/refusal.ts';
import { copiesIn, type Edit, planEdits, removeDrafts, withDraft } from '../config/edits.ts';
import { runtimesIn } from '../config/handler-config.ts';
import { generationIn } from '../config/own-text.ts';
import { changedKeys } from '../containerd/difference.ts';
import { dumpConfig } from '../containerd/dump.ts';
import type { ContainerdProcess } from '../containerd/find.ts';
import { needsRestart } from '../containerd/loaded.ts';
import type { Generation } from '../release/generation.ts';
import type { Step } from './step.ts';

/** What a change would write, and the generation that the handler would run, if any. */
export type Planned = { readonly edits: readonly Edit[]; readonly wanted: Generation | undefined };

/**
 * containerd itself reads a draft before it is live: only our handler may change. A dangling import, a wrong
 * table, or a missing default handler would show here. Resolves with the generation that a removed handler still
 * has by a copy in another program's file.
 */
export async function validateEdits(
  node: Node,
  containerd: Pick<ContainerdProcess, 'pid'>,
  { edits, wanted }: Planned,
): Promise<Generation | undefined> {
  const { host, client, handler } = node;
  const before = await dumpConfig(node, containerd, node.containerdConfig);
  const { runtimeVersion } = await client.version();
  return withDraft(node, edits, async (config, realPath) => {
    const after = await dumpConfig(node, containerd, config).catch((cause) => {
      const what = `containerd refuses the new configuration: ${errorLine(cause)}`;
      throw new Refusal('validate', { what, reason: 'ContainerdConfigInvalid', cause });
    });
    const isOurs = ([top, , ...rest]: readonly string[]) =>
      top === 'imports' ||
      (top === 'plugins' && rest.slice(0, 3).join() === `containerd,runtimes,${handler}`);
    const foreign = changedKeys(before, after).filter((path) => !isOurs(path));
    if (foreign.length > 0) {
      const named = foreign.slice(0, 5).map((path) => path.join('.'));
      const what = `The new configuration would change more than the handler: ${named.join(', ')}`;
      throw new Refusal('validate', { what });
    }
    const { fault, runtimes } = await readContainerdConfig(host, config, runtimeVersion);
    if (fault !== undefined) {
      const what = `containerd would not start pods with the new configuration: ${fault.problem}`;
      throw new Refusal('validate', { what, reason: 'ContainerdConfigInvalid' });
    }
    const { file = '', line } = runtimes.get(handler) ?? {};
    const found = generationIn(tableAt(runtimesIn(after), [handler]));
    if (wanted !== undefined && found?.directory !== wanted.directory) {
      const why =
        file === '' ? 'its table is ignored' : `"${realPath(file)}" line ${line} has it as well, and counts`;
      const what = `containerd would not load the handler "${handler}" as it is written: ${why}`;
      throw new Refusal('validate', { what, reason: 'HandlerNotConfigured' });
    }
    return wanted === undefined ? found : undefined;
  });
}

export const validate: Step = {
  name: 'validate',
  async do(run) {
    const { node, containerd, target, texts, main } = run;
    await removeDrafts(node, texts);
    run.edits = await planEdits(node, target?.written, { texts, main });
    run.wanted = (await validateEdits(node, containerd, run)) ?? run.wanted;
    for (const text of await copiesIn(node, run.edits)) node.report({ step: 'validate', ...skipped(text) });
    if (run.edits.length === 0 && !(await needsRestart(node, run.wanted))) return undefined;
    return pass('containerd reads the new configuration, and only the handler differs');
  },
};
