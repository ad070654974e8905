import { once } from 'node:events';
import { createServer } from 'node:net';
import { UsageError } from '../hack/run.ts';

/**
 * Keeps a second command off a cluster and gives what ends that. The kernel gives the name back when
 * this process ends, however it ends.
 */
export async function lock(cluster: string): Promise<() => void> {
  const server = createServer();
  server.listen(`\0gvisor-ready-cluster-${cluster}`);
  await once(server, 'listening').catch((cause) => {
    throw new UsageError(
      `Another command is working on the cluster "${cluster}": wait for it to end, or name another cluster with --name.`,
      { cause },
    );
  });
  server.unref();
  return () => server.close();
}

/** Does `work` while no other command may touch the cluster. */
export async function locked<T>(cluster: string, work: () => Promise<T>): Promise<T> {
  const release = await lock(cluster);
  try {
    return await work();
  } finally {
    release();
  }
}
