import { containerdPids } from './containerd-process.ts';
import type { Distribution } from './distribution.ts';
import type { Host } from './host.ts';

/**
 * The root configuration file that the node's containerd reads: the one on its command line (Flatcar and k3s name one
 * there), else the distribution's. What a containerd says that listens on another socket, such as that of Talos
 * itself, does not count; nor does anything when several disagree, as beside one of Docker's own.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/command/main.go (flags)
 */
export async function readConfigPath(
  host: Host,
  distribution: Distribution,
  socket = distribution.criSocket,
): Promise<string> {
  const named = new Set<string | undefined>();
  for (const pid of await containerdPids(host)) {
    const text = await host.readText(`/proc/${pid}/cmdline`).catch(() => undefined);
    const words = (text ?? '').split('\0').slice(1);
    const address = flagValue(words, ['-a', '--address']);
    if (address === undefined || address === socket) named.add(flagValue(words, ['-c', '--config']));
  }
  const [only] = named;
  return named.size === 1 && only?.startsWith('/') ? only : distribution.containerdConfig;
}

/** The value of a flag, as "-c x", "-c=x", "--config x" or "--config=x". */
function flagValue(words: readonly string[], flags: readonly string[]): string | undefined {
  for (const [index, word] of words.entries()) {
    if (flags.includes(word)) return words[index + 1];
    const flag = flags.find((each) => word.startsWith(`${each}=`));
    if (flag !== undefined) return word.slice(flag.length + 1);
  }
  return undefined;
}
