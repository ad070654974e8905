import type { ClusterNode } from '../../cluster/node/node.ts';

const FILES = ['cpu', 'io', 'memory'].map((resource) => `/proc/pressure/${resource}`);
const QUIET = '/run/no-pressure';

/**
 * Makes a node look idle to agents that start from now on, however busy this machine is: a machine with two processors
 * that runs tests is always under pressure, which excuses what a node of its own would not be excused for.
 */
export async function hidePressure(node: ClusterNode): Promise<void> {
  await node.write(
    QUIET,
    'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n',
  );
  for (const file of FILES) await node.system.run(['mount', '--bind', QUIET, file]);
}

/** Undoes {@link hidePressure}. */
export async function showPressure(node: ClusterNode): Promise<void> {
  for (const file of FILES) await node.system.run(['umount', file]);
}
