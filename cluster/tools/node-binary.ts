import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeBinary } from '../../hack/bundle.ts';
import { CACHE, REPO } from '../../hack/paths.ts';
import { run } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';
import type { ForeignArch } from '../plan/nodes.ts';

type Pins = { readonly optionalDependencies: Readonly<Record<string, string>> };

/** npm installs the package of this machine's architecture alone; that of another one is downloaded as it is pinned. */
export async function nodeBinaryFor(arch: ForeignArch | undefined): Promise<string> {
  if (arch === undefined) return nodeBinary();
  const name = `node-linux-${arch}`;
  const pins = JSON.parse(await readFile(join(REPO, 'package.json'), 'utf8')) as Pins;
  const version = pins.optionalDependencies[name];
  const directory = join(CACHE, 'tools', `${name}-${version}`);
  await makeOnce(directory, async (work) => {
    await mkdir(work, { recursive: true });
    const pack = ['pack', '--silent', '--pack-destination', work, `${name}@${version}`];
    const file = (await run('npm', pack, { timeoutMs: 10 * 60_000 })).trim();
    await run('tar', ['-xzf', join(work, file), '-C', work]);
    return join(work, 'package');
  });
  return join(directory, 'bin/node');
}
