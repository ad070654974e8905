import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPO } from '../hack/paths.ts';
import { run, runAll } from '../hack/run.ts';

/** An edit of a place at which a program is put together. */
type Edit = {
  readonly file: string;
  /** Text that occurs once in the file. */
  readonly from: string;
  readonly to: string;
  /** The test file that must fail. */
  readonly test: string;
};

const EDITS: readonly Edit[] = [];

/**
 * Applies one edit at a time to a copy of the sources and runs its test file. Fails if a test passes with the edit, fails
 * without it, or an edit's text is gone.
 */
export async function mutateWiring(pattern: string): Promise<number> {
  const copy = await copySources();
  try {
    const edits = EDITS.filter(({ file, to }) => new RegExp(pattern).test(`${file} ${to}`));
    const red = new Set<string>();
    for (const test of new Set(edits.map((edit) => edit.test)))
      if (!(await passes(copy, test))) red.add(test);
    for (const test of red) console.log(`FAILS     without an edit: ${test}`);
    let survived = 0;
    for (const edit of edits.filter(({ test }) => !red.has(test))) {
      const outcome = await tryEdit(copy, edit);
      if (outcome !== 'killed') survived += 1;
      console.log(`${outcome.padEnd(9)} ${edit.file}: ${edit.from.trim()} -> ${edit.to.trim()}`);
    }
    console.log(`\nwiring: ${survived} of ${edits.length} survived`);
    return survived + red.size === 0 ? 0 : 1;
  } finally {
    rmSync(copy, { recursive: true });
  }
}

async function tryEdit(
  copy: string,
  { file, from, to, test }: Edit,
): Promise<'killed' | 'SURVIVED' | 'STALE'> {
  const path = join(copy, file);
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2) return 'STALE';
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  try {
    return (await passes(copy, test)) ? 'SURVIVED' : 'killed';
  } finally {
    writeFileSync(path, text);
  }
}

async function passes(copy: string, test: string): Promise<boolean> {
  const args = [
    '--import',
    'tsx',
    '--test',
    '--test-isolation=none',
    '--test-force-exit',
    '--test-timeout=120000',
  ];
  const options = { cwd: copy, env: { ...process.env, NODE_TEST_CONTEXT: undefined }, timeoutMs: 300_000 };
  const ended = runAll(process.execPath, [...args, test], options);
  return ended.then(
    ({ code }) => code === 0,
    () => false, // a wiring without an end
  );
}

async function copySources(): Promise<string> {
  const copy = mkdtempSync(join(tmpdir(), 'wiring-'));
  const files = (await run('git', ['ls-files', '-z'], { cwd: REPO })).split('\0').filter(Boolean);
  for (const file of files) cpSync(join(REPO, file), join(copy, file));
  symlinkSync(join(REPO, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}
