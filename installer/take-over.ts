import { TomlLines } from '../lib/node/containerd/toml.ts';
import { readRunscConfig } from '../lib/node/runsc/config.ts';
import { contentOf } from './edits.ts';
import { blockOf, handlerTable, sectionOf } from './handler-config.ts';
import type { Written } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import type { Preflight } from './preflight.ts';
import type { Generation } from './release.ts';

/** In the place of another owner's handler. */
export function planInPlace(
  { file, instead = '' }: Pick<Written, 'file' | 'instead'>,
  handler: string,
  generation: Generation,
): Written {
  const version = instead.includes(sectionOf(3)) ? 3 : 2;
  const text = blockOf(`gvisor-ready ${handler}`, handlerTable(version, handler, generation));
  return { file, text, instead };
}

/** Throws a {@link Refusal} if it is not one table with its options. */
export async function foreignText(root: string, file: string, handler: string): Promise<string> {
  const lines = ((await contentOf(root, file)) ?? '').split('\n');
  const names = lines.map((line) => /^\s*\[([^[\]]+)\]\s*(?:#.*)?$/.exec(line)?.[1]?.replace(/["'\s]/g, ''));
  const pathIn = (version: number) => ['plugins', sectionOf(version), 'containerd', 'runtimes', handler];
  const path = pathIn(names.includes(pathIn(3).join('.')) ? 3 : 2);
  const own = path.join('.');
  const from = names.indexOf(own);
  const next = names.findIndex((name, at) => at > from && !(name ?? own).concat('.').startsWith(`${own}.`));
  let to = next < 0 ? lines.length : next;
  // Comments above the next table belong to it.
  while (to > from && /^\s*(#.*)?$/.test(lines[to - 1] ?? '')) to -= 1;
  if (from < 0 || new TomlLines(lines.toSpliced(from, to - from).join('\n')).has(path)) {
    const what = `The handler "${handler}" in "${file}" is not one table with its options`;
    throw new Refusal('write', `${what}. Remove it by hand, and install again`);
  }
  return lines.slice(from, to).join('\n') + (to < lines.length ? '\n' : '');
}

/** The new handler would lose settings of the old one. */
export async function refuseLoss(
  { host, handler }: Node,
  { foreign, config }: Preflight,
  flags: ReadonlyMap<string, string>,
): Promise<void> {
  const runtime = config.runtimes.get(handler);
  if (foreign === undefined || runtime === undefined) return;
  const settings = {
    pod_annotations: runtime.podAnnotations.join(),
    snapshotter: runtime.snapshotter,
    base_runtime_spec: runtime.baseRuntimeSpec,
    cni_conf_dir: runtime.cniConfDir,
  };
  const file = runtime.options.ConfigPath;
  const old = typeof file === 'string' ? (await readRunscConfig(host, file)).flags : [];
  const lost = [
    ...Object.entries(settings).flatMap(([key, value]) => (value === '' ? [] : `${key} = ${value}`)),
    ...[...old].flatMap(([flag, value]) => (flags.has(flag) ? [] : `--flag ${flag}=${value}`)),
  ];
  if (lost.length === 0) return;
  const what = `The handler "${handler}" in "${foreign}" has settings that would be lost: ${lost.join(', ')}`;
  const next = 'Give the flags again; take the rest out there and restart containerd, if no pod needs it';
  throw new Refusal('check', `${what}. ${next}`);
}
