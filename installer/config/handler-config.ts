import { posix } from 'node:path';
import { stringify } from 'smol-toml';
import { readContainerdConfig } from '../../lib/containerd/config.ts';
import {
  type ContainerdFile,
  parseContainerdFile,
  readContainerdFiles,
} from '../../lib/containerd/config-files.ts';
import type { ConfigRules } from '../../lib/containerd/release.ts';
import { type TomlTable, type TomlValue, tableAt, toPlain } from '../../lib/containerd/toml.ts';
import type { Host } from '../../lib/host/host.ts';
import type { Node } from '../base/node.ts';
import { Refusal } from '../base/refusal.ts';
import type { Journal, Written } from '../journal/schema.ts';
import type { Generation } from '../release/generation.ts';
import { blockOf, handlerBlock, SECTIONS, type Section, withoutBlocks } from './own-text.ts';

/** containerd's rules, its root file, and all settings. */
export type ConfigPlace = {
  readonly host: Host;
  readonly rules: ConfigRules;
  readonly root: string;
  readonly dump: TomlTable;
};

/**
 * Chooses a drop-in that is read last if containerd 2 or newer imports a directory that is there, else a marked block
 * in the file whose table counts. No directory is made, so that none stays.
 */
export async function planHandler(
  { host, rules, root, dump }: ConfigPlace,
  handler: string,
  generation: Generation,
): Promise<Written> {
  const files = await readOtherFiles(host, root);
  const main = mainFileOf(rules, files);
  if (main !== undefined) refuseOldVersion(rules, main);
  const section = sectionFor(rules, files);
  // containerd 1.x replaces its built-in table, and pods would have no runc.
  const needsRunc =
    rules === '1.x' &&
    tableAt((main ?? files[0])?.plugins, [section, 'containerd', 'runtimes']) === undefined;
  const directory = rules === '1.x' ? undefined : await importedDirectory(host, main);
  const place = posix.dirname(root);
  if (main === undefined && (await host.stat(place)) === undefined)
    throw new Refusal('write', {
      what: `"${place}", for containerd's file, is missing`,
      next: 'Make it, and install again',
    });
  const isNew = directory !== undefined || main === undefined;
  const head = [
    ...(isNew ? [`version = ${versionFor(rules, files)}`] : []),
    ...(needsRunc ? runcTable(section, dump) : []),
  ];
  const file = directory && posix.join(directory, dropInOf(handler));
  return {
    file: file ?? main?.path ?? root,
    ...(head.length > 0 && { head: `${isNew ? '' : '\n'}${blockOf('gvisor-ready', head)}` }),
    text: `\n${handlerBlock(section, handler, generation)}`,
  };
}

/** Sorts behind the drop-ins of other programs, so that no copy that they make of the handler counts. */
export function dropInOf(handler: string): string {
  return `zz-gvisor-ready-${handler}.toml`;
}

/** containerd 2 takes a file without a version for its own version, and would move tables of version 1. */
function refuseOldVersion(rules: ConfigRules, { path, version, plugins }: ContainerdFile): void {
  if (version >= 2 || (rules !== '1.x' && version === 0 && !plugins.has('cri'))) return;
  throw new Refusal('write', {
    what: `"${path}" is a configuration of version ${version || 1}`,
    next: 'Rewrite it as version 2 (containerd config migrate), and install again',
  });
}

/**
 * Returns the section that has the handlers, whatever the version says: containerd drops an old one beside a new one.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/plugins/cri/runtime/plugin.go (migrateConfig)
 */
function sectionFor(rules: ConfigRules, files: readonly ContainerdFile[]): Section {
  const [old, current] = SECTIONS;
  if (rules === '1.x') return old;
  const has = (section: Section) =>
    files.some(({ plugins }) => tableAt(plugins, [section, 'containerd', 'runtimes']) !== undefined);
  if (has(current)) return current;
  return has(old) || versionFor(rules, files) === 2 ? old : current;
}

/** Finds the section for people who write the table. `release` is containerd's, if that is known. */
export async function readSection(host: Host, root: string, release: string | undefined): Promise<Section> {
  const { rules, rulesAssumed } = await readContainerdConfig(host, root, release);
  const files = await readOtherFiles(host, root);
  // Without a file nothing says which containerd it is, and version 2 is at its end.
  return rulesAssumed && files.length === 0 ? SECTIONS[1] : sectionFor(rules, files);
}

/** In containerd 2.0 to 2.2 the last version that a file names counts for all files. */
function versionFor(rules: ConfigRules, files: readonly ContainerdFile[]): number {
  return files.findLast(({ version }) => version > 1)?.version ?? (rules === '1.x' ? 2 : 3);
}

function runcTable(section: Section, dump: TomlTable): readonly string[] {
  const runtimes = { runc: toPlain(runtimesIn(dump)?.get('runc') ?? new Map()) };
  return stringify({ plugins: { [section]: { containerd: { runtimes } } } })
    .trimEnd()
    .split('\n');
}

export function runtimesIn(dump: TomlTable): TomlTable | undefined {
  return tableAt(criSectionIn(dump), ['containerd', 'runtimes']);
}

/** The handler of pods that name none. */
export function defaultHandlerIn(dump: TomlTable): TomlValue | undefined {
  return tableAt(criSectionIn(dump), ['containerd'])?.get('default_runtime_name');
}

/** The settings of the plugin that has the handlers. */
export function criSectionIn(dump: TomlTable): TomlTable | undefined {
  return SECTIONS.toReversed()
    .map((section) => tableAt(dump, ['plugins', section]))
    .find((table) => table?.has('containerd'));
}

/** The file whose table of handlers counts. */
export async function readMainFile(host: Host, rules: ConfigRules, root: string): Promise<string> {
  return mainFileOf(rules, (await readContainerdFiles(host, root)).files)?.path ?? root;
}

/** In 1.x only the last file with the CRI plugin's section counts. */
function mainFileOf(rules: ConfigRules, files: readonly ContainerdFile[]): ContainerdFile | undefined {
  const last = files.findLast(({ plugins }) => plugins.has('io.containerd.grpc.v1.cri'));
  return rules === '1.x' && last !== undefined ? last : files[0];
}

/** Finds a directory such as that of "/etc/containerd/conf.d/*.toml", if it is there. */
async function importedDirectory(host: Host, root: ContainerdFile | undefined): Promise<string | undefined> {
  const patterns = root?.imports.filter((path) => /^[^*?[\]]*\/\*\.toml$/.test(path)) ?? [];
  for (const pattern of patterns.toReversed()) {
    const directory = posix.resolve(posix.dirname(root?.path ?? '/'), posix.dirname(pattern));
    if ((await host.stat(directory))?.kind === 'directory') return directory;
  }
  return undefined;
}

/** Reads the files as they are without the installer's handlers. */
async function readOtherFiles(host: Host, root: string): Promise<readonly ContainerdFile[]> {
  const { files } = await readContainerdFiles(host, root);
  const others = files.filter(({ path }) => path === root || !isDropIn(path));
  return Promise.all(
    others.map(async (file) => {
      const content = (await host.readText(file.path)) ?? '';
      return parseContainerdFile(withoutBlocks(content), file.path);
    }),
  );
}

/** Knows the drop-ins of all handlers and versions of this program. */
function isDropIn(file: string): boolean {
  return /^(zz-)?gvisor-ready-.*\.toml$/.test(posix.basename(file));
}

/** A journal that names another file than containerd's would have it edited by root. */
export async function refuseOtherFiles(
  { host, handler, containerdConfig }: Pick<Node, 'host' | 'handler' | 'containerdConfig'>,
  { installed, previous, pending }: Journal,
): Promise<void> {
  const { files } = await readContainerdFiles(host, containerdConfig);
  const known = [containerdConfig, ...files.map(({ path }) => path)];
  for (const file of [installed, previous, pending].flatMap((each) => each?.written.file ?? [])) {
    // Another program's file went with the handler in it, and nothing is to be put back there.
    if (pending === undefined && (await host.stat(file)) === undefined) continue;
    // A drop-in that is not there yet, or not any more.
    if (
      known.includes(file) ||
      (isDropIn(file) && posix.basename(file).endsWith(`gvisor-ready-${handler}.toml`))
    )
      continue;
    throw new Refusal('journal', {
      what: `The journal of handler "${handler}" names "${file}", which is no file of containerd`,
      next: 'Give --config if it is, or move the journal away',
    });
  }
}
