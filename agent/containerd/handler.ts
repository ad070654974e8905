import type { ConfiguredRuntime } from './config.ts';
import { BARE } from './runtimes-table.ts';

/** The runtime of a handler, and where it was seen. */
export type HandlerRuntime = ConfiguredRuntime & {
  /** `loaded` in the running containerd, on `disk`, or `assumed` to be gVisor's because neither has the handler. */
  readonly seen: 'loaded' | 'disk' | 'assumed';
};

/** The runtime of a handler that nobody has configured. */
export const ASSUMED: HandlerRuntime = { ...BARE, runtimeType: 'io.containerd.runsc.v1', seen: 'assumed' };

/** The string option of that name, "" when absent. containerd matches the names of options without regard to case. */
export function optionOf(runtime: Pick<HandlerRuntime, 'options'>, name: string): string {
  const key = Object.keys(runtime.options).find((known) => known.toLowerCase() === name.toLowerCase());
  const value = key === undefined ? undefined : runtime.options[key];
  return typeof value === 'string' ? value : '';
}
