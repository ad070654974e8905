import { basename, dirname, join } from 'node:path';
import type { Host } from './host.ts';
import { NotVisible } from './visible.ts';

/**
 * Where this process finds a socket of the host: a link on the way is one of the host, such as /var/run. Throws
 * {@link NotVisible} for one outside of the agent's mounts.
 */
export async function localSocket(host: Host, socket: string): Promise<string> {
  const folder = await host.localPath(dirname(socket)).catch((error: unknown) => {
    if (error instanceof NotVisible) throw error;
  });
  return join(folder ?? join(host.root, dirname(socket)), basename(socket));
}
