import type { Runtime } from '../../lib/containerd/client.ts';
import { optionOf } from '../../lib/containerd/config.ts';
import type { ContainerdFile } from '../../lib/containerd/config-files.ts';
import { parseToml, TomlLines, type TomlTable, tableAt } from '../../lib/containerd/toml.ts';
import { type Generation, generationAt, isGenerationPath } from '../release/generation.ts';

/** The plugin whose section has the handlers, first in version 2, then in version 3 and newer. */
export const SECTIONS = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.runtime'] as const;
export type Section = (typeof SECTIONS)[number];

const BLOCKS = /\n?# BEGIN gvisor-ready (\S+): .*?# END gvisor-ready \1\n/gs;
/** Lines that all handlers in a file need, before their blocks. */
export const HEAD = /\n?# BEGIN gvisor-ready: .*?# END gvisor-ready\n/s;

/** The marks help people who read the file. Whose a table is, its values say. */
export function blockOf(name: string, lines: readonly string[]): string {
  const begin = `# BEGIN ${name}: written by gvisor-ready-install, which also removes it.`;
  return [begin, ...lines, `# END ${name}`, ''].join('\n');
}

export function handlerBlock(section: Section, handler: string, generation: Generation): string {
  return blockOf(`gvisor-ready ${handler}`, handlerTable(section, handler, generation));
}

export function handlerTable(section: Section, handler: string, generation: Generation): readonly string[] {
  const table = `plugins.${JSON.stringify(section)}.containerd.runtimes.${JSON.stringify(handler)}`;
  return [
    `[${table}]`,
    '  runtime_type = "io.containerd.runsc.v1"',
    `  runtime_path = ${JSON.stringify(generation.shim)}`,
    `  [${table}.options]`,
    '    TypeUrl = "io.containerd.runsc.v1.options"',
    `    ConfigPath = ${JSON.stringify(generation.config)}`,
  ];
}

/** Returns the generation whose shim a handler runs with that generation's settings: such a handler is this program's. */
export function ownGeneration(
  runtime: Pick<Runtime, 'runtimePath' | 'options'> | undefined,
): Generation | undefined {
  const directory = (runtime?.runtimePath ?? '').replace(/\/[^/]*$/, '');
  const generation = generationAt(directory);
  if (runtime?.runtimePath !== generation.shim || !isGenerationPath(generation.shim)) return undefined;
  return optionOf(runtime, 'ConfigPath') === generation.config ? generation : undefined;
}

/** Finds the handler's table in a parsed file; undefined if there is none. */
export function lineOfOwnTable(
  handler: string,
  { tree, lines }: Pick<ContainerdFile, 'tree' | 'lines'>,
): number | undefined {
  for (const section of SECTIONS) {
    const path = ['plugins', section, 'containerd', 'runtimes', handler];
    if (generationIn(tableAt(tree, path)) !== undefined) return lines.find(path);
  }
  return undefined;
}

export function generationIn(table: TomlTable | undefined): Generation | undefined {
  const options = Object.fromEntries(tableAt(table, ['options']) ?? new Map());
  return ownGeneration({ runtimePath: String(table?.get('runtime_path')), options });
}

export function withoutBlocks(content: string): string {
  return content.replace(BLOCKS, '');
}

export function hasBlocks(content: string): boolean {
  return withoutBlocks(content) !== content;
}

/** Returns the handler's block with its marks, even if it was changed since. */
export function markedBlock(handler: string, content: string): string | undefined {
  return [...content.matchAll(BLOCKS)].find(([, name]) => name === handler)?.[0];
}

/** Whether a block is neither one of `texts` nor what is written for the generation that it names. */
export function isEdited(handler: string, block: string, texts: readonly string[]): boolean {
  const bare = block.trimStart();
  const [, directory = ''] = /ConfigPath = "(.*)\/[^/"]*"/.exec(block) ?? [];
  const written = SECTIONS.map((section) => handlerBlock(section, handler, generationAt(directory)));
  return ![...texts, ...written].some((text) => text.trimStart() === bare);
}

/**
 * Finds a handler's own table that has lost its marks, as a program leaves it that parses a file and writes it anew:
 * the lines of the table and of its options. Undefined if somebody has added to it, or it is in two places.
 */
export function unmarkedTable(handler: string, content: string): string | undefined {
  const lines = content.split('\n');
  const names = lines.map((line) => /^\s*\[([^[\]]+)\]\s*$/.exec(line)?.[1]?.replace(/["'\s]/g, ''));
  const paths = SECTIONS.map((section) => ['plugins', section, 'containerd', 'runtimes', handler]);
  const path = paths.find((each) => names.includes(each.join('.')));
  if (path === undefined) return undefined;
  const own = path.join('.');
  const from = names.indexOf(own);
  const isHeader = (line: string | undefined) => /^\s*\[/.test(line ?? '');
  let to = from + 1;
  while (to < lines.length && (!isHeader(lines[to]) || names[to] === `${own}.options`)) to += 1;
  // Empty lines and comments above the next table belong to it.
  while (/^\s*(#.*)?$/.test(lines[to - 1] ?? '')) to -= 1;
  const text = lines.slice(from, to).join('\n') + (to < lines.length ? '\n' : '');
  const rest = lines.toSpliced(from, to - from).join('\n');
  if (/#/.test(text) || new TomlLines(rest).has(path)) return undefined;
  return generationIn(tableAt(parseToml(text, ''), path)) && text;
}
