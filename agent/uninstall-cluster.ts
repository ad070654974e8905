import type { Config } from './config.ts';
import { openAccess } from './kube/access.ts';
import { createKube } from './kube/client.ts';
import { uninstall } from './uninstall.ts';

/** Uninstalls from the cluster that the settings name; see {@link uninstall}. */
export async function uninstallCluster(
  config: Config,
  { version, print }: { readonly version: string; readonly print: (line: string) => void },
  signal: AbortSignal,
): Promise<number> {
  const access = await openAccess(config);
  for (const warning of access.warnings) print(warning);
  const kube = createKube(access, { agent: `gvisor-ready/${version}`, count: () => {} });
  try {
    return await uninstall({ kube, print }, signal);
  } finally {
    await kube.close();
  }
}
