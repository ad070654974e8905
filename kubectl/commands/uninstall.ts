import { DAEMON_SET } from '../../lib/kube/access.ts';
import { optional } from '../api/api.ts';
import { type Context, EXIT } from '../api/context.ts';
import { readDaemonSet } from '../cluster/agent-reports.ts';
import { findMarked, type RemovalOptions, removeMarks } from '../cluster/node-marks.ts';
import { printMessage } from '../text/output.ts';

export async function uninstall(context: Context, options: RemovalOptions): Promise<number> {
  const { api, output } = context;
  if ((await optional(readDaemonSet(api), [403])) !== undefined) {
    printMessage(
      output,
      `The agents still run and would write everything again. First: kubectl -n ${api.installedIn} delete daemonset ${DAEMON_SET}`,
    );
    return EXIT.problem;
  }
  const found = await findMarked(api);
  return removeMarks(context, found, { ...options, remedy: 'delete the DaemonSet, then run this again' });
}
