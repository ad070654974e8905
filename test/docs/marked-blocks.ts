import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';

/** A code block marked for a test by a comment before it: `<!-- run: node -->` is kind "run", mark "node". */
export type MarkedBlock = {
  readonly kind: string;
  readonly mark: string;
  readonly language: string;
  readonly text: string;
};

/** The marked code blocks of a document, by its path in the repository, in order. */
export function markedBlocks(file: string): MarkedBlock[] {
  const text = readFileSync(join(REPO, file), 'utf8');
  const found = text.matchAll(/^<!-- (\w+): (.+?) -->\n```(\w+)\n([\s\S]*?)^```$/gm);
  return [...found].map(([, kind = '', mark = '', language = '', body = '']) => ({
    kind,
    mark,
    language,
    text: body,
  }));
}

/** The text of the block with this mark, and of one of these kinds if any are given; fails if there is none. */
export function markedBlock(file: string, mark: string, ...kinds: readonly string[]): string {
  const found = markedBlocks(file).find(
    (block) => block.mark === mark && (kinds.length === 0 || kinds.includes(block.kind)),
  );
  assert.ok(found !== undefined, `${file} has no block "${mark}"`);
  return found.text;
}

/** A script with its variables replaced by `settings`; fails for a variable that has no setting. */
export function substituteSettings(script: string, settings: Readonly<Record<string, string>>): string {
  return script.replace(/^([A-Z]+)=.*$/gm, (line, name: string) => {
    const value = settings[name];
    assert.ok(value !== undefined, `no setting for ${line}`);
    return `${name}='${value}'`;
  });
}
