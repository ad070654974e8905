import { parseToml, type TomlTable } from '../../lib/containerd/toml.ts';
import { runOnHost } from '../base/host-command.ts';
import type { Node } from '../base/node.ts';
import type { ContainerdProcess } from './find.ts';

/**
 * Has the program of the running containerd, which may be gone from the disk, read a root file, or its defaults
 * without one. Throws if containerd would refuse the file.
 */
export async function dumpConfig(
  { root, host }: Pick<Node, 'root' | 'host'>,
  { pid }: Pick<ContainerdProcess, 'pid'>,
  config: string,
): Promise<TomlTable> {
  const isThere = (await host.stat(config)) !== undefined;
  const words = isThere ? ['--config', config, 'config', 'dump'] : ['config', 'default'];
  return parseToml(await runOnHost(root, [`/proc/${pid}/exe`, ...words]), config);
}
