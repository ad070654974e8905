import { posix } from 'node:path';
import type { Host } from '../host/host.ts';

/** The programs that containerd runs for a pod's network, and the directories in which it looks for them. */
export type Cni = { readonly plugins: readonly string[]; readonly directories: readonly string[] };

type Plugin = { readonly type?: unknown; readonly ipam?: { readonly type?: unknown } | null };

/**
 * From `cniconfig` of a verbose status, which has the node's networks and not those of a handler's own directory. Nothing
 * without that document, or in another form. Source:
 * https://github.com/containerd/go-cni/blob/v1.1.14/cni.go (ConfigResult)
 */
export function parseLoadedCni(text: string | undefined): Cni {
  const { PluginDirs = [], Networks = [] } = (parse(text) ?? {}) as {
    readonly PluginDirs?: readonly string[] | null;
    readonly Networks?: readonly LoadedNetwork[] | null;
  };
  const plugins = (Networks ?? []).flatMap(({ Config }) => Config?.Plugins ?? []);
  return { plugins: programsOf(plugins.map(({ Network }) => Network)), directories: PluginDirs ?? [] };
}

type LoadedNetwork = { readonly Config?: { readonly Plugins?: readonly { readonly Network?: Plugin }[] } };

/**
 * Programs of the configuration that containerd takes from a directory, which is the first. Source:
 * https://github.com/containerd/go-cni/blob/v1.1.14/opts.go (loadFromConfDir)
 */
export async function readPlugins(host: Host, directory: string): Promise<readonly string[]> {
  const names = (await host.list(directory)) ?? [];
  const first = names.find((name) => /\.(?:conf|conflist|json)$/.test(name));
  const text = first === undefined ? undefined : await host.readText(posix.join(directory, first));
  const network = (parse(text) ?? {}) as Plugin & { readonly plugins?: readonly Plugin[] };
  return programsOf(network.plugins ?? [network]);
}

function programsOf(plugins: readonly (Plugin | undefined)[]): readonly string[] {
  const types = plugins.flatMap((plugin) => [plugin?.type, plugin?.ipam?.type]);
  return [...new Set(types.filter((type): type is string => typeof type === 'string' && type !== ''))];
}

function parse(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
