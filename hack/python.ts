import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { partial, removeAbandoned } from './abandoned.ts';
import { CACHE, REPO } from './paths.ts';
import { progress } from './progress.ts';
import { run, runAll, UsageError } from './run.ts';

const MINIMUM = [3, 11] as const;
const REQUIREMENTS = ['dispatcher/requirements.txt', 'dispatcher/requirements-dev.txt'];

let made: Promise<string> | undefined;

/**
 * The Python of a virtual environment with what `dispatcher/` and its gate need, exactly as its requirements
 * pin it; made when it is first asked for and kept in the cache. Run tools of it with `-m`.
 */
export function ensurePython(): Promise<string> {
  made ??= makePython(); // two at once would make it in the same unfinished folder
  return made;
}

async function makePython(): Promise<string> {
  const version = await pythonVersion();
  const hash = createHash('sha256').update(version);
  for (const file of REQUIREMENTS) hash.update(await readFile(join(REPO, file)));
  const parent = join(CACHE, 'python');
  const folder = join(parent, hash.digest('hex').slice(0, 12));
  if (!existsSync(folder)) {
    const work = partial(folder);
    await removeAbandoned(parent);
    await progress(`installing what ${REQUIREMENTS[0]} pins (kept for next time)`, async () => {
      await run('python3', ['-m', 'venv', work]);
      const options = ['--quiet', '--disable-pip-version-check', '--no-deps'];
      const files = REQUIREMENTS.flatMap((file) => ['-r', join(REPO, file)]);
      const python = join(work, 'bin/python');
      await run(python, ['-m', 'pip', 'install', ...options, ...files], { timeoutMs: 10 * 60_000 });
      await rename(work, folder).catch((error: unknown) => {
        if (!existsSync(folder)) throw error; // else another process was faster
      });
    }).finally(() => rm(work, { recursive: true, force: true }));
  }
  return join(folder, 'bin/python');
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
