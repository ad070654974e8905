import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, glob, mkdir, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CACHE } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';
import { CONTAINERD_TOOLS, type NodeSpec } from '../plan/nodes.ts';
import type { Image } from '../tools/images.ts';
import { ensureTools } from '../tools/tools.ts';

export const STORAGE = '/var/lib/containerd';

/** Pairs of a name and the archive it was last loaded from. */
export const LOADED_IMAGES = 'loaded-images.json';

const TEMPLATES = join(CACHE, 'storage');
const UNUSED_MS = 24 * 60 * 60_000;

/** ctr 2 imports through the transfer service, which is incomplete in containerd 1.7. */
export function importOptions(containerd: NodeSpec['containerd']): readonly string[] {
  return containerd === '1.7' ? ['--local'] : [];
}

/** Imports the archives $1... with containerd in its own directory. */
const IMPORT = `
containerd --config config.toml --root "$PWD/storage" --state "$PWD/state" --address "$PWD/socket" >log 2>&1 &
for try in $(seq 200); do ctr -a "$PWD/socket" version >/dev/null 2>&1 && break; sleep 0.05; done
for archive in "$@"; do
  ctr -a "$PWD/socket" -n k8s.io images import $OPTIONS "$archive" || { tail -n 2 log >&2; exit 1; }
done
kill $!; wait`;

/**
 * An import takes seconds of a processor, so a storage is made once for all new nodes of this machine; they share its
 * files, which containerd may replace but never changes, except its databases.
 */
export async function provideStorage(
  directory: string,
  containerd: NodeSpec['containerd'],
  images: readonly Image[],
): Promise<void> {
  await makeOnce(directory, async (draft) => {
    const template = await ensureTemplate(containerd, images);
    const isLinked = (await stat(dirname(directory))).dev === (await stat(template)).dev;
    await run('cp', ['--archive', ...(isLinked ? ['--link'] : []), template, draft]);
    // Not deeper: there are the files of images, with links into this machine's.
    for await (const file of glob('*/*.db', { cwd: draft })) {
      await rm(join(draft, file));
      await copyFile(join(template, file), join(draft, file));
    }
    return draft;
  });
}

const making = new Map<string, Promise<string>>();

function ensureTemplate(containerd: NodeSpec['containerd'], images: readonly Image[]): Promise<string> {
  const key = JSON.stringify([containerd, images.map(({ archive }) => archive)]);
  const name = hash('sha256', key).slice(0, 12);
  const known = making.get(name) ?? makeTemplate(join(TEMPLATES, name), containerd, images);
  making.set(name, known);
  known.catch(() => making.delete(name));
  return known;
}

async function makeTemplate(
  template: string,
  containerd: NodeSpec['containerd'],
  images: readonly Image[],
): Promise<string> {
  if (existsSync(template)) await utimes(template, new Date(), new Date());
  await makeOnce(template, async (work) => {
    await removeUnused();
    const group = CONTAINERD_TOOLS[containerd];
    const tools = await ensureTools([group]);
    const storage = join(work, 'storage');
    await mkdir(storage, { recursive: true });
    const version = containerd === '2' ? 3 : 2;
    const config = `version = ${version}\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n`;
    await writeFile(join(work, 'config.toml'), config);
    const env = {
      PATH: `${tools[group]}:${process.env.PATH}`,
      OPTIONS: importOptions(containerd).join(' '),
    };
    const archives = images.map(({ archive }) => archive);
    const inNamespace = ['--mount', '--', 'sh', '-c', IMPORT, 'sh', ...archives];
    await run('unshare', inNamespace, { cwd: work, env, timeoutMs: 120_000, killOnExit: true });
    const loaded = images.map(({ name, archive }) => [name, archive]);
    await writeFile(join(storage, LOADED_IMAGES), JSON.stringify(loaded));
    return storage;
  });
  return template;
}

async function removeUnused(): Promise<void> {
  for (const name of await readdir(TEMPLATES)) {
    const path = join(TEMPLATES, name);
    const used = await stat(path).catch(() => undefined);
    if (used === undefined || Date.now() - used.mtimeMs < UNUSED_MS) continue;
    await rm(path, { recursive: true, force: true });
  }
}
