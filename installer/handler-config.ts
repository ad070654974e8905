import { posix } from 'node:path';
import { stringify } from 'smol-toml';
import {
  type ContainerdFile,
  parseContainerdFile,
  readContainerdFiles,
} from '../lib/node/containerd/config-files.ts';
import type { ConfigRules } from '../lib/node/containerd/release.ts';
import { type TomlTable, type TomlValue, tableAt, toPlain } from '../lib/node/containerd/toml.ts';
import type { Host } from '../lib/node/host/host.ts';
import { BLOCKS } from './edits.ts';
import type { Journal, Written } from './journal.ts';
import { type Node, Refusal } from './node.ts';
import type { Generation } from './release.ts';

/** containerd's rules, its root file, and all settings. */
export type ConfigPlace = {
  readonly host: Host;
  readonly rules: ConfigRules;
  readonly root: string;
  readonly dump: TomlTable;
};

/**
 * A drop-in if containerd 2 or newer imports a directory that is there, else a marked block in the file whose
 * table counts. No directory is made, so that none stays.
 */
export async function planHandler(
  { host, rules, root, dump }: ConfigPlace,
  handler: string,
  generation: Generation,
): Promise<Written> {
  const files = await readOtherFiles(host, root);
  const target = fileOf(rules, files);
  const version = target?.version ?? (rules === '1.x' ? 2 : 3);
  if (version < 2) {
    const next = 'Rewrite it as version 2 (containerd config migrate), and install again';
    throw new Refusal('write', `"${target?.path}" is a configuration of version ${version || 1}. ${next}`);
  }
  const section = sectionOf(version);
  // containerd 1.x replaces its built-in table, and pods would have no runc.
  const needsRunc =
    rules === '1.x' && !files.some(({ lines }) => lines.has(['plugins', section, 'containerd', 'runtimes']));
  const directory = rules === '1.x' ? undefined : await importedDirectory(host, target);
  const place = posix.dirname(root);
  if (target === undefined && (await host.stat(place)) === undefined)
    throw new Refusal('write', `"${place}", for containerd's file, is missing. Make it, and install again`);
  const isNew = directory !== undefined || target === undefined;
  const head = [...(isNew ? [`version = ${version}`] : []), ...(needsRunc ? runcTable(section, dump) : [])];
  const file = directory && posix.join(directory, dropInOf(handler));
  return {
    file: file ?? target?.path ?? root,
    ...(head.length > 0 && { head: `${isNew ? '' : '\n'}${blockOf('gvisor-ready', head)}` }),
    text: `\n${blockOf(`gvisor-ready ${handler}`, handlerTable(version, handler, generation))}`,
  };
}

function dropInOf(handler: string): string {
  return `gvisor-ready-${handler}.toml`;
}

function runcTable(section: string, dump: TomlTable): readonly string[] {
  const runtimes = { runc: toPlain(runtimesIn(dump)?.get('runc') ?? new Map()) };
  return stringify({ plugins: { [section]: { containerd: { runtimes } } } })
    .trimEnd()
    .split('\n');
}

/** As containerd prints it. */
export function runtimesIn(dump: TomlTable): TomlTable | undefined {
  return tableAt(criIn(dump), ['runtimes']);
}

/** The handler of pods that name none. */
export function defaultHandlerIn(dump: TomlTable): TomlValue | undefined {
  return criIn(dump)?.get('default_runtime_name');
}

function criIn(dump: TomlTable): TomlTable | undefined {
  return [3, 2].map((version) => tableAt(dump, ['plugins', sectionOf(version), 'containerd'])).find(Boolean);
}

export function blockOf(name: string, lines: readonly string[]): string {
  const begin = `# BEGIN ${name}: written by gvisor-ready-install, which also removes it.`;
  return [begin, ...lines, `# END ${name}`, ''].join('\n');
}

/** For a configuration of this version. */
export function handlerTable(version: number, handler: string, generation: Generation): readonly string[] {
  const table = `${runtimesOf(version)}.${JSON.stringify(handler)}`;
  return [
    `[${table}]`,
    '  runtime_type = "io.containerd.runsc.v1"',
    `  runtime_path = ${JSON.stringify(generation.shim)}`,
    `  [${table}.options]`,
    '    TypeUrl = "io.containerd.runsc.v1.options"',
    `    ConfigPath = ${JSON.stringify(generation.config)}`,
  ];
}

/** The plugin whose section has the handlers. */
export function sectionOf(version: number): string {
  return version >= 3 ? 'io.containerd.cri.v1.runtime' : 'io.containerd.grpc.v1.cri';
}

function runtimesOf(version: number): string {
  return `plugins.${JSON.stringify(sectionOf(version))}.containerd.runtimes`;
}

/** In 1.x only the last file with the CRI plugin's section counts. */
function fileOf(rules: ConfigRules, files: readonly ContainerdFile[]): ContainerdFile | undefined {
  const last = files.findLast(({ plugins }) => plugins.has('io.containerd.grpc.v1.cri'));
  return rules === '1.x' && last !== undefined ? last : files[0];
}

/** Such as that of "/etc/containerd/conf.d/*.toml", if it is there. */
async function importedDirectory(host: Host, root: ContainerdFile | undefined): Promise<string | undefined> {
  const pattern = root?.imports.find((path) => /^[^*?[\]]*\/\*\.toml$/.test(path));
  if (root === undefined || pattern === undefined) return undefined;
  const directory = posix.resolve(posix.dirname(root.path), posix.dirname(pattern));
  return (await host.stat(directory))?.kind === 'directory' ? directory : undefined;
}

/** Without the installer's handlers in them. */
async function readOtherFiles(host: Host, root: string): Promise<readonly ContainerdFile[]> {
  const { files } = await readContainerdFiles(host, root);
  return Promise.all(
    files.map(async (file) => {
      const content = (await host.readText(file.path)) ?? '';
      return parseContainerdFile(content.replace(BLOCKS, ''), file.path);
    }),
  );
}

/** A journal that names another file than containerd's would have it edited by root. */
export async function refuseOtherFiles(
  { host, handler, containerdConfig }: Pick<Node, 'host' | 'handler' | 'containerdConfig'>,
  { installed, previous, pending }: Journal,
): Promise<void> {
  const { files } = await readContainerdFiles(host, containerdConfig);
  const known = [containerdConfig, ...files.map(({ path }) => path)];
  for (const file of [installed, previous, pending].flatMap((each) => each?.written.file ?? [])) {
    // A drop-in that is not there yet, or not any more.
    if (known.includes(file) || posix.basename(file) === dropInOf(handler)) continue;
    const what = `The journal of handler "${handler}" names "${file}", which is no file of containerd`;
    throw new Refusal('journal', `${what}. Give --config if it is, or move the journal away`);
  }
}
