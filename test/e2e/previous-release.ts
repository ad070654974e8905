import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from '../../cluster/images.ts';
import { partial, removeAbandoned } from '../../hack/abandoned.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { progress } from '../../hack/progress.ts';
import { run, runAll } from '../../hack/run.ts';

/**
 * What stands for the release before this one: a commit, as long as there is no tag. It calls itself 0.1.0, as the
 * sources of today do; here it is built as 0.0.9, so that the two can be told apart.
 */
const PREVIOUS = { commit: '0def30e3f072587a9e384ad30de081dd0e8ca687', said: '0.1.0', version: '0.0.9' };
/** The files of that commit that say its version. */
const SAY_THE_VERSION = [
  'agent/version.ts',
  'hack/images.ts',
  'manifests/base/kustomization.yaml',
  'Dockerfile',
];

/** The previous release: its version, the folder of its manifests, and the agent's image, built from its own sources. */
export type Previous = { readonly version: string; readonly manifests: string; readonly image: Image };

/** Takes the previous release out of this clone's history and builds it with its own tools and dependencies, once. */
export async function ensurePrevious(): Promise<Previous> {
  const { commit, version } = PREVIOUS;
  const folder = join(CACHE, 'previous', `${commit.slice(0, 12)}-${version}`);
  const known = await runAll('git', ['cat-file', '-e', `${commit}^{commit}`], { cwd: REPO });
  if (known.code !== 0)
    throw new Error(
      `This clone lacks the commit ${commit}, which stands for the previous release: fetch the whole history (git fetch --unshallow).`,
    );
  if (!existsSync(folder))
    await progress(`unpacking the previous release (${version})`, () => unpack(folder));
  const ask = "console.log(JSON.stringify(await (await import('./hack/images.ts')).ensureImage('agent')))";
  const words = ['--import', 'tsx', '--input-type=module', '--eval', ask];
  const env = { ...process.env, GVISOR_READY_CACHE: CACHE };
  const built = await run(process.execPath, words, { cwd: folder, env, timeoutMs: 15 * 60_000 });
  return { version, manifests: join(folder, 'manifests'), image: JSON.parse(built) as Image };
}

async function unpack(folder: string): Promise<void> {
  await removeAbandoned(join(CACHE, 'previous'));
  const work = partial(folder);
  await mkdir(work);
  try {
    const archive = join(work, 'archive.tar');
    await run('git', ['archive', '--output', archive, PREVIOUS.commit], { cwd: REPO });
    await run('tar', ['-xf', archive], { cwd: work });
    await rm(archive);
    for (const file of SAY_THE_VERSION) {
      const text = await readFile(join(work, file), 'utf8');
      const changed = text.replaceAll(PREVIOUS.said, PREVIOUS.version);
      if (changed === text) throw new Error(`${file} of ${PREVIOUS.commit} does not say ${PREVIOUS.said}`);
      await writeFile(join(work, file), changed);
    }
    await run('npm', ['ci', '--no-audit', '--no-fund'], { cwd: work, timeoutMs: 15 * 60_000 });
    await rename(work, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
