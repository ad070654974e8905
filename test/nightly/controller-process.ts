import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import type { ToolGroup } from '../../cluster/tools/tool-groups.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';

type Program = {
  readonly group: ToolGroup;
  readonly file: string;
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
};

/** Runs a controller of another project, with its output in `GROUP.log` of the cluster. Resolves to a function that ends it. */
export async function startController(
  cluster: Cluster,
  { group, file, args = [], env }: Program,
): Promise<() => Promise<void>> {
  const tools = await ensureTools([group]);
  const log = createWriteStream(join(cluster.dir, `${group}.log`));
  const controller = spawn(join(tools[group], file), args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  controller.stdout.pipe(log);
  controller.stderr.pipe(log);
  return async () => {
    controller.kill('SIGKILL');
    if (controller.signalCode === null && controller.exitCode === null) await once(controller, 'exit');
  };
}
