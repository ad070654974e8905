import { mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Cluster } from '../../cluster/cluster.ts';
import { imageName } from '../../cluster/tools/images.ts';
import { REPO } from '../../hack/paths.ts';
import { markedBlock } from './marked-blocks.ts';

/** The agents' image in the guides. */
const GUIDE_IMAGE = imageName('agent').replace('localhost/', 'registry.example.org/');

type Lists = Readonly<Record<string, readonly unknown[]>>;

/** The lists of a marked block of a page. */
function listsOf(page: string, mark: string): Lists {
  return parse(markedBlock(page, mark, 'file', 'add')) as Lists;
}

/** A directory as docs/install.md wants it: a clone of this repository, and the one kustomization that all pages add to. */
export class UserDirectory {
  readonly path: string;
  #kustomization: Lists = {};

  private constructor(path: string) {
    this.path = path;
  }

  /** Creates a directory with the kustomization of docs/install.md. */
  static async create(): Promise<UserDirectory> {
    const directory = new UserDirectory(await realpath(await mkdtemp(join(tmpdir(), 'user-'))));
    await symlink(REPO, join(directory.path, 'gvisor-ready'));
    await directory.reset();
    return directory;
  }

  /** Goes back to the kustomization of docs/install.md, with what these blocks of a page add. */
  async reset(page = '', ...marks: readonly string[]): Promise<void> {
    this.#kustomization = listsOf('docs/install.md', 'kustomization');
    await this.add(...marks.map((mark) => listsOf(page, mark)));
  }

  /** Appends to the lists of the kustomization. */
  async add(...additions: readonly Lists[]): Promise<void> {
    for (const addition of additions)
      for (const [name, entries] of Object.entries(addition)) {
        const before = this.#kustomization[name] ?? [];
        this.#kustomization = { ...this.#kustomization, [name]: [...before, ...entries] };
      }
    await this.write(JSON.stringify(this.#kustomization));
  }

  /** Appends what a marked block of a page shows. */
  async addBlock(page: string, mark: string): Promise<void> {
    await this.add(listsOf(page, mark));
  }

  /** Replaces the file by a whole kustomization. */
  async write(text: string): Promise<void> {
    await writeFile(join(this.path, 'kustomization.yaml'), text);
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** Gives the agents' image on each node the name that it has in the guides, and takes its own away. */
export async function nameImageAsInGuides(cluster: Cluster): Promise<void> {
  const ctr = ['ctr', '--namespace=k8s.io', 'images'];
  for (const { system } of cluster.nodes()) {
    await system.run([...ctr, 'tag', '--force', imageName('agent'), GUIDE_IMAGE]);
    await system.run([...ctr, 'rm', imageName('agent')]);
  }
}
