import { TomlLines } from '../lib/node/containerd/toml.ts';
import { readRunscConfig } from '../lib/node/runsc/config.ts';
import { contentOf } from './edits.ts';
import { blockOf, handlerTable, sectionOf } from './handler-config.ts';
import type { Written } from './journal.ts';
import { type Node, Refusal, skipped } from './node.ts';
import type { Preflight } from './preflight.ts';
import type { Generation } from './release.ts';

/**
 * The text that takes the place of another owner's handler in its file. Throws a {@link Refusal} where that is not one table
 * with its options.
 */
export async function planTakeOver(
  root: string,
  file: string,
  { handler, generation }: { readonly handler: string; readonly generation: Generation },
): Promise<Written> {
  const lines = ((await contentOf(root, file)) ?? '').split('\n');
  const names = lines.map((line) => /^\s*\[([^[\]]+)\]\s*(?:#.*)?$/.exec(line)?.[1]?.replace(/["'\s]/g, ''));
  const version = names.includes(`plugins.${sectionOf(3)}.containerd.runtimes.${handler}`) ? 3 : 2;
  const own = `plugins.${sectionOf(version)}.containerd.runtimes.${handler}`;
  const from = names.indexOf(own);
  const next = names.findIndex((name, at) => at > from && !(name ?? own).concat('.').startsWith(`${own}.`));
  let to = next < 0 ? lines.length : next;
  // Comments above the next table belong to it.
  while (to > from && /^\s*(#.*)?$/.test(lines[to - 1] ?? '')) to -= 1;
  const rest = lines.toSpliced(from, to - from).join('\n');
  const path = ['plugins', sectionOf(version), 'containerd', 'runtimes', handler];
  if (from < 0 || new TomlLines(rest).has(path)) {
    const what = `The handler "${handler}" in "${file}" is not one table with its options`;
    throw new Refusal('write', `${what}. Remove it by hand, and install again`);
  }
  const instead = lines.slice(from, to).join('\n') + (to < lines.length ? '\n' : '');
  return inPlace({ file, instead }, version, { handler, generation });
}

/** The next text in the place of another owner's handler, which was taken over before. */
export function planInPlace(
  old: Written,
  what: { readonly handler: string; readonly generation: Generation },
): Written {
  return inPlace(old, old.text.includes(sectionOf(3)) ? 3 : 2, what);
}

function inPlace(
  { file, instead }: Pick<Written, 'file' | 'instead'>,
  version: number,
  { handler, generation }: { readonly handler: string; readonly generation: Generation },
): Written {
  return {
    file,
    text: blockOf(`gvisor-ready ${handler}`, handlerTable(version, handler, generation)),
    instead,
  };
}

/** Names the settings of a handler that is taken over which the new one will not have. */
export async function refuseLoss(
  { host, handler, report }: Node,
  {
    seen: { foreign, config },
    flags,
    isAccepted,
  }: { readonly seen: Preflight; readonly flags: ReadonlyMap<string, string>; readonly isAccepted: boolean },
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
  const text = `The handler "${handler}" in "${foreign}" has settings that would be lost: ${lost.join(', ')}`;
  if (isAccepted) return report({ step: 'check', ...skipped(text) });
  throw new Refusal('check', `${text}. Give the flags again; --lose-settings gives the rest up`);
}
