import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';
import { run, runAll } from '../../hack/run.ts';

/** The text occurs once in the file. */
type Edit = { readonly file: string; readonly text: string; readonly replacement: string };

/** By the test file that must fail with each of them. */
const EDITS = parse(readFileSync(join(import.meta.dirname, 'wiring.yaml'), 'utf8')) as Readonly<
  Record<string, readonly Edit[]>
>;

/**
 * Applies one edit at a time to a copy of the sources and runs its test file. Fails if a test passes with the edit, fails
 * without it, or an edit's text is gone.
 */
export async function mutateWiring(pattern: string): Promise<number> {
  const copy = await copySources();
  let failed = 0;
  const say = (outcome: string, what: string) => {
    if (outcome !== 'killed') failed += 1;
    console.log(`${outcome.padEnd(9)} (wiring) ${what}`);
  };
  try {
    for (const [test, edits] of Object.entries(EDITS)) {
      if (!new RegExp(pattern).test(test)) continue;
      if (await passes(copy, test))
        for (const edit of edits)
          say(await tryEdit(copy, test, edit), `${edit.file}: ${edit.replacement.trim()}`);
      else say('FAILS', `${test} without an edit`);
    }
    console.log(`\nwiring: ${failed} edits were not noticed`);
    return Math.min(failed, 1);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

async function tryEdit(copy: string, test: string, { file, text, replacement }: Edit) {
  const path = join(copy, file);
  const source = readFileSync(path, 'utf8');
  if (source.split(text).length !== 2) return 'STALE';
  writeFileSync(
    path,
    source.replace(text, () => replacement),
  );
  try {
    return (await passes(copy, test)) ? 'SURVIVED' : 'killed';
  } finally {
    writeFileSync(path, source);
  }
}

async function passes(copy: string, test: string): Promise<boolean> {
  const args = '--test --test-isolation=none --test-force-exit --test-timeout=120000'.split(' ');
  const options = { cwd: copy, env: { ...process.env, NODE_TEST_CONTEXT: undefined }, timeoutMs: 300_000 };
  const ended = runAll(process.execPath, [...args, test], options);
  return ended.then(
    ({ code }) => code === 0,
    () => false, // a wiring without an end
  );
}

async function copySources(): Promise<string> {
  const copy = mkdtempSync(join(tmpdir(), 'wiring-'));
  await run('sh', ['-c', 'git ls-files -z | tar -c --null -T - | tar -x -C "$1"', 'sh', copy], { cwd: REPO });
  symlinkSync(join(REPO, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}
