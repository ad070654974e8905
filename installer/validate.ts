import { errorLine } from '../lib/base/sanitize.ts';
import { readContainerdConfig } from '../lib/node/containerd/config.ts';
import { tableAt } from '../lib/node/containerd/toml.ts';
import { type ContainerdProcess, changedKeys, dumpConfig } from './containerd.ts';
import { type Edit, withDraft } from './edits.ts';
import { runtimesIn } from './handler-config.ts';
import { draftOf } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import { type Generation, isGenerationPath } from './release.ts';

/**
 * containerd itself reads a draft before it is live: only our handler may change. A dangling import, a wrong
 * table, or a missing default handler would show here.
 */
export async function validate(
  node: Node,
  containerd: Pick<ContainerdProcess, 'program'>,
  edits: readonly Edit[],
  wanted: Generation | undefined,
): Promise<void> {
  const { host, client, handler } = node;
  const before = await dumpConfig(node, containerd, node.containerdConfig);
  const { runtimeVersion } = await client.version();
  await withDraft(node, edits, async (config) => {
    const after = await dumpConfig(node, containerd, config).catch((cause) => {
      const message = `containerd refuses the new configuration: ${errorLine(cause)}`;
      throw new Refusal('validate', message, { cause, reason: 'ContainerdConfigInvalid' });
    });
    const isOurs = ([top, , ...rest]: readonly string[]) =>
      top === 'imports' ||
      (top === 'plugins' && rest.slice(0, 3).join() === `containerd,runtimes,${handler}`);
    const foreign = changedKeys(before, after).filter((path) => !isOurs(path));
    if (foreign.length > 0) {
      const named = foreign.slice(0, 5).map((path) => path.join('.'));
      const message = `The new configuration would change more than the handler: ${named.join(', ')}`;
      throw new Refusal('validate', message);
    }
    const table = tableAt(runtimesIn(after), [handler]);
    const { fault, runtimes } = await readContainerdConfig(host, config, runtimeVersion);
    if (fault !== undefined) {
      const message = `containerd would not start pods with the new configuration: ${fault.problem}`;
      throw new Refusal('validate', message, { reason: 'ContainerdConfigInvalid' });
    }
    if (wanted === undefined && isGenerationPath(String(table?.get('runtime_path')))) {
      const { file, line } = runtimes.get(handler) ?? {};
      const what = `"${file?.replace(draftOf(''), '')}" line ${line} still has the handler "${handler}", without the marks of gvisor-ready`;
      throw new Refusal('validate', `${what}. Remove its table there, and run this again`);
    }
    const isNamed =
      table?.get('runtime_path') === wanted?.shim &&
      tableAt(table, ['options'])?.get('ConfigPath') === wanted?.config;
    if (wanted !== undefined && !isNamed) {
      const message = `containerd would not load the handler "${handler}" as it is written: another file has it as well, or its table is ignored`;
      throw new Refusal('validate', message, { reason: 'HandlerNotConfigured' });
    }
  });
}
