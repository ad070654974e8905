import type { Cri, CriStatus } from '../cri/cri.ts';
import type { Host } from '../host/host.ts';
import { type ConfiguredRuntime, readContainerdConfig } from './config.ts';

/** Where the facts of a handler are read. */
export type HandlerSources = {
  readonly host: Host;
  readonly cri: Cri;
  readonly handler: string;
  readonly containerdConfig: string;
};

/** The runtime of a handler, and where it was seen. */
export type HandlerRuntime = ConfiguredRuntime & {
  /** `loaded` in the running containerd, on `disk`, or `assumed` to be gVisor's because neither has the handler. */
  readonly seen: 'loaded' | 'disk' | 'assumed';
};

const ASSUMED: HandlerRuntime = {
  runtimeType: 'io.containerd.runsc.v1',
  runtimePath: '',
  options: {},
  snapshotter: '',
  seen: 'assumed',
};

/** What the running containerd says, or `undefined` when it does not answer; an aborted signal still throws. */
export async function readCriStatus(cri: Cri, signal: AbortSignal): Promise<CriStatus | undefined> {
  try {
    return await cri.status(signal);
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** The handler that pods get: as loaded, else as configured on disk, else gVisor's usual one. */
export async function readHandler(sources: HandlerSources, signal: AbortSignal): Promise<HandlerRuntime> {
  const { host, cri, handler, containerdConfig } = sources;
  const status = await readCriStatus(cri, signal);
  const loaded = status?.runtimes.get(handler);
  if (loaded) return { ...loaded, seen: 'loaded' };
  const release = status?.runtimeVersion;
  const config = await readContainerdConfig(host, containerdConfig, { release, signal });
  const configured = config.runtimes.get(handler);
  return configured ? { ...configured, seen: 'disk' } : ASSUMED;
}

/** The string option of that name, "" when absent. containerd matches the names of options without regard to case. */
export function optionOf(runtime: Pick<HandlerRuntime, 'options'>, name: string): string {
  const key = Object.keys(runtime.options).find((known) => known.toLowerCase() === name.toLowerCase());
  const value = key === undefined ? undefined : runtime.options[key];
  return typeof value === 'string' ? value : '';
}
