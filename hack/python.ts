import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE, REPO } from './paths.ts';
import { progress } from './progress.ts';
import { run, runAll, UsageError } from './run.ts';
import { partial, removeAbandoned } from './unfinished.ts';

const MINIMUM = [3, 11] as const;
const REQUIREMENTS = ['dispatcher/requirements.txt', 'dispatcher/requirements-dev.txt'];

let made: Promise<string> | undefined;

/** The Python of a cached virtual environment with the pinned requirements of `dispatcher/`. Run its tools with `-m`. */
export function ensurePython(): Promise<string> {
  made ??= makePython(); // concurrent calls would use the same partial directory
  return made;
}

async function makePython(): Promise<string> {
  const version = await pythonVersion();
  const hash = createHash('sha256').update(version);
  for (const file of REQUIREMENTS) hash.update(await readFile(join(REPO, file)));
  const parent = join(CACHE, 'python');
  const directory = join(parent, hash.digest('hex').slice(0, 12));
  if (!existsSync(directory)) {
    const work = partial(directory);
    await removeAbandoned(parent);
    await progress(`installing what ${REQUIREMENTS[0]} pins (kept for next time)`, async () => {
      await run('python3', ['-m', 'venv', work]);
      const options = ['--quiet', '--disable-pip-version-check', '--no-deps'];
      const files = REQUIREMENTS.flatMap((file) => ['-r', join(REPO, file)]);
      const python = join(work, 'bin/python');
      await run(python, ['-m', 'pip', 'install', ...options, ...files], { timeoutMs: 10 * 60_000 });
      await rename(work, directory).catch((error: unknown) => {
        if (!existsSync(directory)) throw error; // another process was faster
      });
    }).finally(() => rm(work, { recursive: true, force: true }));
  }
  return join(directory, 'bin/python');
}

async function pythonVersion(): Promise<string> {
  const ask = 'import sys, ensurepip; print(sys.prefix, *sys.version_info[:3])';
  const seen = await runAll('python3', ['-c', ask]).catch(() => undefined);
  const how = `install Python ${MINIMUM.join('.')} or newer with its venv module (Debian: apt-get install python3-venv)`;
  if (seen?.code !== 0) throw new UsageError(`Python cannot make virtual environments here: ${how}.`);
  const [major = 0, minor = 0] = seen.stdout.split(' ').slice(1).map(Number);
  if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
    throw new UsageError(`python3 is ${major}.${minor}, too old: ${how}.`);
  }
  return seen.stdout.trim();
}
