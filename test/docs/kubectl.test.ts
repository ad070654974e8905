import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { markedBlocks } from './marked-blocks.ts';

const DOCUMENT = 'docs/kubectl.md';

describe('docs/kubectl.md', () => {
  it('has a row with help text and flags for each command', async () => {
    const text = await readFile(join(REPO, DOCUMENT), 'utf8');
    const rows = [...text.matchAll(/^\| `([a-z-]+)(?: NAME)?` \| (.*?) \| (.*) \|$/gm)];
    // Shell completion prints the same texts as the help.
    const { out } = await plugin(['__complete', '']);
    assert.deepEqual(
      rows.map(([, name, words]) => `${name}\t${words}`),
      out.trim().split('\n').slice(0, -1),
    );
    for (const [, name = '', , flags = ''] of rows) {
      const help = (await plugin([name, '--help'])).out.split('Global Options')[0] ?? '';
      const real = [...help.matchAll(/^ {2}(?:(-\w), )?(--[\w-]+)/gm)]
        .map(([, short, long]) => short ?? long)
        .filter((flag) => flag !== '-h');
      assert.deepEqual(
        [...flags.matchAll(/`(-{1,2}[\w-]+)/g)].map(([, flag]) => flag).sort(),
        real.sort(),
        name,
      );
      const formats = /choices: (.*)\)/.exec(help)?.[1]?.replaceAll('"', '').replaceAll(', ', '\\|');
      if (formats !== undefined) assert.ok(flags.includes(`-o ${formats}`), `${name}: ${formats}`);
    }
  });

  it('shows recorded output only', () => {
    const blocks = markedBlocks(DOCUMENT).filter(({ kind }) => kind === 'plugin');
    assert.ok(blocks.length > 1);
    for (const { mark, text } of blocks) assert.match(text, /^\$ kubectl gvisor-ready [a-z]+.*\n./, mark);
  });
});
