import { createHash } from 'node:crypto';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { VERSION } from '../agent/version.ts';
import { bundlePlugin } from './bundle-plugin.ts';
import { REPO } from './paths.ts';
import { pack } from './same-archive.ts';

/**
 * Writes the plugin's archive and its manifest for krew beside the plugin. `repository` is the address under which the
 * archive will be released. Gives the manifest's path.
 */
export async function writeKrew(repository: string, dist?: string): Promise<string> {
  const folder = dirname(await bundlePlugin(dist));
  await copyFile(join(REPO, 'LICENSE'), join(folder, 'LICENSE'));
  const archive = join(folder, `kubectl-gvisor_ready-v${VERSION}.tar.gz`);
  const files = ['kubectl-gvisor_ready', 'kubectl_complete-gvisor_ready', 'LICENSE'];
  await pack(archive, { folder, files });
  const sha256 = createHash('sha256')
    .update(await readFile(archive))
    .digest('hex');
  const values: Readonly<Record<string, string>> = { VERSION, REPOSITORY: repository, SHA256: sha256 };
  const template = await readFile(join(REPO, 'kubectl/krew.yaml'), 'utf8');
  const manifest = join(folder, 'gvisor-ready.yaml');
  const filled = template
    .replace(/^#.*\n/gm, '')
    .replace(/@(\w+)@/g, (whole, name: string) => values[name] ?? whole);
  await writeFile(manifest, filled);
  return manifest;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [repository] = process.argv.slice(2);
  if (repository === undefined)
    throw new Error('Name the repository: npm run krew -- https://github.com/OWNER/gvisor-ready');
  console.log(await writeKrew(repository));
}
