import { posix } from 'node:path';
import type { Host } from '../host/host.ts';
import { type ContainerdFile, parseContainerdFile, readContainerdFile } from './files.ts';
import { type IgnoredMention, mentionsIn } from './handler-mentions.ts';

/** Directories beside the root file in which people put drop-ins: containerd, k3s, RKE2 and k0s. */
const DROP_IN_DIRECTORIES = ['.', 'conf.d', 'config.d', 'containerd.d', 'config.toml.d', 'config-v3.toml.d'];
/** Where people edit although k3s and others read a file elsewhere. */
const USUAL_DIRECTORY = '/etc/containerd';
const MAX_FILES = 50;
/** From which k3s, RKE2 and MicroK8s render the file that containerd reads. */
const TEMPLATE = /(\.tmpl|-template\.toml)$/;

/**
 * Handlers named in drop-ins that lie where drop-ins usually lie and that no file imports.
 * A drop-in that cannot be read is left out: it only would have explained a fault seen elsewhere.
 */
export async function readUnimported(
  host: Host,
  root: string,
  loaded: readonly ContainerdFile[],
): Promise<readonly IgnoredMention[]> {
  const known = new Set([posix.resolve('/', root), ...loaded.map((file) => file.path)]);
  const found: IgnoredMention[] = [];
  const directories = new Set([posix.dirname(root), USUAL_DIRECTORY]);
  const candidates = await Promise.all([...directories].map((directory) => dropIns(host, directory)));
  const others = candidates.flat().filter((candidate) => !known.has(candidate));
  for (const path of others.slice(0, MAX_FILES)) {
    const template = TEMPLATE.test(path);
    const read = template ? readTemplate : readContainerdFile;
    const file = await read(host, path).catch(() => undefined);
    if (!file || 'problem' in file) continue;
    const why = template
      ? 'it is a template, and what was rendered last has nothing of this: restart what renders it (k3s, RKE2, MicroK8s), unless that prefers another template'
      : `no file that containerd loads imports "${path}"`;
    for (const { handler, line } of mentionsIn(file)) {
      found.push({ handler, file: path, line, why, isLoaded: false });
    }
  }
  return found;
}

/** What of a Go or shell template is TOML as it stands, its lines where they were. */
async function readTemplate(host: Host, path: string): Promise<ContainerdFile | undefined> {
  const text = await host.readText(path);
  const plain = text?.replace(/\{\{.*?\}\}|\$\{\w+\}/gs, (word) => word.replace(/[^\n]/g, ''));
  return plain === undefined ? undefined : parseContainerdFile(plain, path);
}

async function dropIns(host: Host, directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of DROP_IN_DIRECTORIES) {
    const path = posix.join(directory, name);
    const names = (await host.list(path).catch(() => undefined)) ?? [];
    // In a directory made for drop-ins, a wrong ending is one reason why a drop-in is not imported.
    const likely = names.filter((file) => name !== '.' || file.endsWith('.toml') || TEMPLATE.test(file));
    found.push(...likely.map((file) => posix.join(path, file)));
  }
  return found;
}
