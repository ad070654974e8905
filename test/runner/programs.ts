import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TOOL_GROUPS, type ToolGroup } from '../../cluster/tools/tool-groups.ts';

/** Modules that are not followed: a tier names the programs of its nodes. */
const NODES = /\/cluster\/node\/(node|install)\.ts$/;
const IMPORT = /^(?:import|export) [^;]*?from '(\.{1,2}\/[^']+)';/gm;
const TOOLS = /(?:ensureTools\(|toolsFor\(\w+, )\[([^\]]*)\]/g;

/** The source texts of these files and of all that they import and `follows` accepts, by their paths. */
export function textsOf(
  files: readonly string[],
  follows = (file: string) => !NODES.test(file),
): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  const visit = (file: string) => {
    if (texts.has(file) || !follows(file) || !existsSync(file)) return;
    const text = readFileSync(file, 'utf8');
    texts.set(file, text);
    for (const [, path = ''] of text.matchAll(IMPORT)) visit(join(dirname(file), path));
  };
  for (const file of files) visit(file);
  return texts;
}

/**
 * The groups of programs that a file and its imports name in `ensureTools([...])`, in the order in which they are built.
 * Groups that are computed there are missing; a test builds those itself.
 */
export function programsOf(files: readonly string[]): readonly ToolGroup[] {
  const lists = [...textsOf(files).values()].flatMap((text) => [...text.matchAll(TOOLS)]);
  const named = lists.flatMap(([, list = '']) => [...list.matchAll(/'([^']+)'/g)].map(([, name]) => name));
  return TOOL_GROUPS.filter((group) => named.includes(group));
}
