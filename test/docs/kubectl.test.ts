import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';
import { plugin } from '../kubectl/run-plugin.ts';
import { markedBlocks } from './marked-blocks.ts';

const DOCUMENT = 'docs/kubectl.md';

describe('the page of the kubectl plugin', () => {
  it('has a row for every command, with its words and its flags', async () => {
    const text = await readFile(join(REPO, DOCUMENT), 'utf8');
    const rows = [...text.matchAll(/^\| `([a-z]+)(?: NAME)?` \| (.*?) \| (.*) \|$/gm)];
    // The words that a shell is given to complete a command with are those of the help.
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

  it('shows what was recorded, and no line that a page would break', () => {
    const blocks = markedBlocks(DOCUMENT).filter(({ kind }) => kind === 'plugin');
    assert.ok(blocks.length > 15);
    for (const { mark, text } of blocks) assert.match(text, /^\$ kubectl gvisor-ready [a-z]+.*\n./, mark);
  });
});
