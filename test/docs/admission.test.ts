import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';

const read = (file: string) => readFile(join(REPO, file), 'utf8');
/** Messages of the API server itself. */
const NOT_OURS = ['resulted in error', 'RuntimeClass "…" not found'];

/** The text at the beginning of each row in the table of messages. */
async function documented(): Promise<string[]> {
  const [, section = ''] = (await read('docs/admission.md')).split('## Messages and remedies');
  const cells = [...section.matchAll(/^\| (`.+?) \| /gm)].map(([, cell]) => cell ?? '');
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, words]) => words ?? ''));
}

describe('docs/admission.md', () => {
  it('quotes only messages that the policies contain', async () => {
    const files = globSync('manifests/components/{enforce,enforce-bindings}/*.yaml', { cwd: REPO });
    const policies = (await Promise.all(files.map(read))).join('\n');
    // This message is concatenated from two literals.
    const missing = (await documented())
      .filter((words) => !NOT_OURS.includes(words))
      .flatMap((words) =>
        words === ': write runtimeClassName: ' ? [": write '", "'runtimeClassName: '"] : [words],
      )
      .filter((words) => !policies.includes(words));
    assert.deepEqual(missing, []);
  });

  it('has a row for every problem, every other validation, and a truncated message', async () => {
    const count = async (file: string, pattern: RegExp) =>
      [...(await read(`manifests/components/enforce/${file}`)).matchAll(pattern)].length;
    const problems = await count('pods.yaml', /^ +\? \[/gm);
    const validations =
      (await count('pods.yaml', /^ {6}message: /gm)) +
      (await count('classes.yaml', /^ {6}message: /gm)) +
      (await count('guard-namespace.yaml', /^ {6}message: /gm)) +
      (await count('../enforce-bindings/pods.yaml', /^ {6}message: /gm));
    const rows = (await documented()).filter((words) => words !== ': write runtimeClassName: ').length;
    const ofProblems = 1;
    assert.equal(rows - NOT_OURS.length, problems + validations - ofProblems + 1);
  });
});
