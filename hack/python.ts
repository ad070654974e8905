import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE, REPO } from './paths.ts';
import { progress } from './progress.ts';
import { run, UsageError } from './run.ts';
import { makeOnce } from './unfinished.ts';

const MINIMUM = [3, 11] as const;
const TOOLS = 'dispatcher/requirements-dev.txt';

const made = new Map<string, Promise<string>>();

/**
 * A cached virtual environment with pinned requirements of `dispatcher/`: the newest or the oldest supported versions.
 * Run its tools with `-m`.
 */
export function ensurePython(versions: 'newest' | 'oldest' = 'newest'): Promise<string> {
  const file = versions === 'newest' ? 'dispatcher/requirements.txt' : 'dispatcher/requirements-oldest.txt';
  // Concurrent calls would use the same partial directory.
  const python = made.get(file) ?? makePython([file, TOOLS]);
  made.set(file, python);
  return python;
}

async function makePython(requirements: readonly string[]): Promise<string> {
  const version = await pythonVersion();
  const hash = createHash('sha256').update(version);
  for (const file of requirements) hash.update(await readFile(join(REPO, file)));
  const directory = join(CACHE, 'python', hash.digest('hex').slice(0, 12));
  await makeOnce(directory, (work) =>
    progress(`installing what ${requirements[0]} pins (kept for next time)`, async () => {
      await run('python3', ['-m', 'venv', work]);
      const options = ['--quiet', '--disable-pip-version-check', '--no-deps'];
      const files = requirements.flatMap((file) => ['-r', join(REPO, file)]);
      const python = join(work, 'bin/python');
      await run(python, ['-m', 'pip', 'install', ...options, ...files], { timeoutMs: 10 * 60_000 });
      return work;
    }),
  );
  return join(directory, 'bin/python');
}

async function pythonVersion(): Promise<string> {
  const ask = 'import sys, ensurepip; print(sys.prefix, *sys.version_info[:3])';
  const how = `install Python ${MINIMUM.join('.')} or newer with its venv module (Debian: apt-get install python3-venv)`;
  const seen = await run('python3', ['-c', ask]).catch((error: Error) => {
    throw new UsageError(`Python cannot make virtual environments here (${error.message}): ${how}.`);
  });
  const [major = 0, minor = 0] = seen.split(' ').slice(1).map(Number);
  if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
    throw new UsageError(`python3 is ${major}.${minor}, too old: ${how}.`);
  }
  return seen.trim();
}
