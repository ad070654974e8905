import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TOOL_GROUPS, type ToolGroup } from '../../cluster/tool-groups.ts';

/** Modules that are not followed: a tier names the programs of its nodes. */
const NODES = /\/cluster\/node\/(node|install)\.ts$/;
const IMPORT = /^(?:import|export) [^;]*?from '(\.{1,2}\/[^']+)';/gm;
const TOOLS = /ensureTools\(\[([^\]]*)\]/g;

/**
 * The groups of programs that a file and its imports name in `ensureTools([...])`, in the order in which they are built.
 * Groups that are computed there are missing; a test builds those itself.
 */
export function programsOf(files: readonly string[]): readonly ToolGroup[] {
  const seen = new Set<string>();
  const named = new Set<string>();
  const visit = (file: string) => {
    if (seen.has(file) || NODES.test(file) || !existsSync(file)) return;
    seen.add(file);
    const text = readFileSync(file, 'utf8');
    for (const [, list = ''] of text.matchAll(TOOLS))
      for (const [, name = ''] of list.matchAll(/'([^']+)'/g)) named.add(name);
    for (const [, path = ''] of text.matchAll(IMPORT)) visit(join(dirname(file), path));
  };
  for (const file of files) visit(file);
  return TOOL_GROUPS.filter((group) => named.has(group));
}
