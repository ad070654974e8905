import { join } from 'node:path';
import { REPO } from './paths.ts';
import { ensurePython } from './python.ts';
import { run, runAll, runMain } from './run.ts';

const CODE = ['dispatcher', 'test/dispatcher'];
const inRepo = { cwd: REPO, timeoutMs: 10 * 60_000 };

async function gate(program: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runAll(program, args, inRepo);
  if (code !== 0) throw new Error(`${stdout}${stderr}`.trim());
}

// Tools are pinned by dispatcher/requirements-dev.txt. Part of `npm run check`.
await runMain(async () => {
  const python = await ensurePython();
  const scripts = await run('git', ['ls-files', '*.sh', '.ci/run', '.githooks/*'], inRepo);
  await gate(join(python, '../shellcheck'), scripts.trim().split('\n'));
  const ruff = (command: string, option: string) =>
    run(
      python,
      ['-m', 'ruff', command, '--config', 'dispatcher/pyproject.toml', '--quiet', option, ...CODE],
      inRepo,
    );
  await ruff('check', '--no-cache');
  await ruff('format', '--diff');
  const mypy = ['-m', 'mypy', '--config-file', 'dispatcher/pyproject.toml', '--cache-dir', '/dev/null'];
  // Both ends of the range of clients: one has no types, the other has its own.
  for (const one of [python, await ensurePython('oldest')])
    await gate(one, [...mypy, 'dispatcher/gvisor_dispatch', 'dispatcher/recipes']);
});
