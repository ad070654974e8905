import type { CriClient, CriStatus } from '../../lib/containerd/client.ts';
import { optionOf } from '../../lib/containerd/config.ts';
import type { Node } from '../base/node.ts';
import { type Generation, isGenerationPath } from '../release/generation.ts';

/** For `undefined` it says whether containerd has loaded no generation under this handler. */
export async function isLoaded(
  client: CriClient,
  handler: string,
  generation: Generation | undefined,
): Promise<boolean> {
  const runtime = (await client.status()).runtimes.get(handler);
  if (generation === undefined) return !isGenerationPath(runtime?.runtimePath ?? '');
  if (runtime === undefined) return false;
  return runtime.runtimePath === generation.shim && optionOf(runtime, 'ConfigPath') === generation.config;
}

export function loadedPaths({ runtimes }: Pick<CriStatus, 'runtimes'>): readonly string[] {
  return [...runtimes.values()].flatMap((runtime) =>
    [runtime.runtimePath, optionOf(runtime, 'ConfigPath')].filter(isGenerationPath),
  );
}

/** Whether the step restart would restart containerd. */
export async function needsRestart(
  { noRestart, client, handler }: Node,
  wanted: Generation | undefined,
): Promise<boolean> {
  return !noRestart && !(await isLoaded(client, handler, wanted));
}
