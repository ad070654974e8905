import { once } from 'node:events';
import { createServer } from 'node:net';
import { progress } from '../../hack/progress.ts';
import { pause, UsageError } from '../../hack/run.ts';

/**
 * A lock between processes; undefined if another holds it. It is an abstract socket, which the kernel releases when
 * this process ends.
 */
export async function tryLock(name: string): Promise<(() => void) | undefined> {
  const server = createServer();
  server.listen(`\0gvisor-ready-${name}`);
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined;
    throw error;
  }
  server.unref();
  return () => server.close();
}

/** Waits while another process holds the lock; `work` says for people what that does. */
export async function waitForLock(name: string, work: string): Promise<() => void> {
  const first = await tryLock(name);
  if (first !== undefined) return first;
  return progress(`waiting for another run that ${work}`, async () => {
    for (;;) {
      await pause(0.5);
      const release = await tryLock(name);
      if (release !== undefined) return release;
    }
  });
}

/** No other command may touch the cluster meanwhile. */
export async function locked<T>(cluster: string, work: () => Promise<T>): Promise<T> {
  const release = await tryLock(`cluster-${cluster}`);
  if (release === undefined) {
    throw new UsageError(
      `Another command is working on the cluster "${cluster}": wait for it to end, or name another cluster with --name.`,
    );
  }
  try {
    return await work();
  } finally {
    release();
  }
}
