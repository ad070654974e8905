import type { TestContext } from 'node:test';
import { fakeApi } from './fake-api.ts';
import { fleet } from './fleet.ts';
import { plugin, type Ran, type RunOptions } from './run-plugin.ts';

/** A fake API server of the usual fleet, and the plugin run against it with words that a space separates. */
export async function openFleet(t: TestContext) {
  const { api, kubeconfig, folder } = await fakeApi(t);
  fleet(api);
  const run = (words: string, options: RunOptions = {}): Promise<Ran> =>
    plugin([...words.split(' '), '--kubeconfig', kubeconfig], options);
  return { api, run, kubeconfig, folder };
}

/** See {@link openFleet}. */
export type Fleet = Awaited<ReturnType<typeof openFleet>>;
