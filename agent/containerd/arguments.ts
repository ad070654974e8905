import type { CriClient } from '../cri/client.ts';
import type { Host } from '../host/host.ts';
import { readProcess } from '../host/process.ts';
import type { Distribution } from './distribution.ts';

/** Where the path of containerd's configuration is learned; `named` is what the settings say. */
export type ConfigPathSources = {
  readonly host: Host;
  readonly client: Pick<CriClient, 'serverPid'>;
  readonly distribution: Distribution;
  readonly named: string | undefined;
};

/** The flag that names the file in arguments with a zero byte between them: "-c x", "-c=x", "--config x", "--config=x". */
const CONFIG_FLAG = /\0(?:-c|--config)[=\0]([^\0]*)/;

/**
 * A function that gives the root configuration file that the node's containerd reads: the one that the settings name,
 * else the one on its command line (Flatcar and k3s name one there), else the distribution's. containerd is asked until
 * it has told once. A restart with another command line is seen by the next agent.
 */
export function rememberConfigPath(sources: ConfigPathSources): () => Promise<string> {
  let known = sources.named;
  return async () => {
    if (known !== undefined) return known;
    const argv = await readArguments(sources).catch(() => undefined);
    if (argv === undefined) return sources.distribution.containerdConfig;
    const [, flag] = CONFIG_FLAG.exec(argv.join('\0')) ?? [];
    known = flag?.startsWith('/') ? flag : sources.distribution.containerdConfig;
    return known;
  };
}

/**
 * containerd's own arguments. It tells its PID itself, and the process counts only if it has that very PID in this /proc
 * and lies in no nested PID namespace, as those of pods do.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/command/main.go (flags)
 */
async function readArguments({ host, client }: ConfigPathSources): Promise<readonly string[] | undefined> {
  const pid = await client.serverPid();
  const seen = pid > 0 ? await readProcess(host, pid) : undefined;
  return seen?.namespacedPids.join() === String(pid) ? seen.argv : undefined;
}
