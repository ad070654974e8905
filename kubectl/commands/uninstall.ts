import { DAEMON_SET } from '../../agent/kube/access.ts';
import { readDaemonSet } from '../agent-reports.ts';
import { optional } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { findMarked, type RemovalOptions, removeMarks } from '../node-marks.ts';
import { countOf, printLines, printMessage } from '../output.ts';

/** `uninstall`: removes from every Node what agents wrote there, once the user has confirmed. */
export async function uninstall(context: Context, options: RemovalOptions): Promise<number> {
  const { api, output, signal } = context;
  if ((await optional(readDaemonSet(api), [403])) !== undefined) {
    printMessage(
      output,
      `The agents still run and would write everything again. First: kubectl -n ${api.installedIn} delete daemonset ${DAEMON_SET}`,
    );
    return EXIT.problem;
  }
  const { total, marked } = await findMarked(api, signal);
  printLines(output, [`${marked.length} of ${countOf(total, 'node')} to clean`]);
  if (marked.length === 0) return EXIT.ok;
  return removeMarks(context, marked, { ...options, remedy: 'delete the DaemonSet, then run this again' });
}
