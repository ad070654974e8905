import type { Node } from '../base/node.ts';
import { skipped } from '../base/progress.ts';
import { type Edit, planEdits } from '../config/edits.ts';
import { planHandler } from '../config/handler-config.ts';
import type { Installed } from '../journal/schema.ts';
import type { Preflight } from '../preflight/preflight.ts';
import type { Generation } from '../release/generation.ts';
import { textsOf } from '../steps/run.ts';
import { validateEdits } from '../steps/validate.ts';

/** Says what will name the generation in containerd's configuration, and where. */
export async function plan(
  { host, handler, containerdConfig, report }: Node,
  { config, dump }: Pick<Preflight, 'config' | 'dump'>,
  generation: Generation,
): Promise<Installed> {
  const place = { host, rules: config.rules, root: containerdConfig, dump };
  const written = await planHandler(place, handler, generation);
  if (written.head === undefined && written.file !== containerdConfig) {
    const text = `the handler goes into "${written.file}": if another program writes that file again, it is gone at the next restart`;
    report({ step: 'check', ...skipped(text) });
  }
  return { generation: generation.directory, written };
}

/** Resolves with what an installation would write, once containerd has read it in a draft; throws as that would. */
export async function rehearse(
  node: Node,
  { journal, main, containerd, config, dump }: Preflight,
  generation: Generation,
): Promise<readonly Edit[]> {
  const target = await plan(node, { config, dump }, generation);
  const edits = await planEdits(node, target.written, { texts: textsOf(journal, target), main });
  await validateEdits(node, containerd, { edits, wanted: generation });
  return edits;
}

/** With the kubelet's systemd driver runsc must use systemd as well. */
export function flagsFor(
  driver: string | undefined,
  flags: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  return new Map([...(driver === 'systemd' ? ([['systemd-cgroup', 'true']] as const) : []), ...flags]);
}
