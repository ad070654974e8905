import { REPO } from './paths.ts';
import { ensurePython } from './python.ts';
import { run, UsageError } from './run.ts';

const CODE = ['dispatcher', 'test/dispatcher'];

// Python's part of `npm run check`: lint, types of every function, format.
try {
  const python = await ensurePython();
  const ruff = (command: string, option: string) =>
    run(python, ['-m', 'ruff', command, '--config', 'dispatcher/ruff.toml', '--quiet', option, ...CODE], {
      cwd: REPO,
    });
  await ruff('check', '--no-cache');
  await ruff('format', '--diff');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
