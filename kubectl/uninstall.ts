import { errorLine } from '../agent/host/error-line.ts';
import { DAEMON_SET, NAMESPACE } from '../agent/installed.ts';
import { wrap } from '../agent/text/format.ts';
import { orAbsent } from './agents.ts';
import { readDaemonSet } from './check-cluster.ts';
import { cleanNodes, findMarked } from './clean-nodes.ts';
import { type Context, EXIT, UsageError } from './context.ts';
import { count, named } from './known.ts';
import { complain } from './screen.ts';

/** The flags of `uninstall`; `ask` puts a question to a person, and is absent where there is none. */
export type UninstallOptions = {
  readonly yes?: boolean;
  readonly ask: ((question: string) => Promise<boolean>) | undefined;
  readonly settleMs?: number;
};

/** `uninstall`: takes off every Node what agents wrote there, once a person has agreed. */
export async function uninstall(
  context: Context,
  { yes = false, ask, settleMs }: UninstallOptions,
): Promise<number> {
  const { api, screen, signal } = context;
  if ((await orAbsent(readDaemonSet(api), [403])) !== undefined) {
    complain(
      screen,
      `The agents still run and would write everything again. First: kubectl -n ${NAMESPACE} delete daemonset ${DAEMON_SET}`,
    );
    return EXIT.problem;
  }
  const { nodes, marked } = await findMarked(api, signal);
  screen.out(`${count(nodes, 'node')}, ${marked.length} of them with something of the agents\n`);
  if (marked.length === 0) return EXIT.fine;
  const names = named(marked.map(({ metadata }) => metadata.name));
  const what = `labels, annotations, taint and condition of the agents off ${names} (context "${api.access.context}")`;
  if (!yes) {
    if (ask === undefined) throw new UsageError(`Nobody can be asked here: --yes takes ${what}`);
    const warning = `This takes ${what}. gVisor pods run on, but a kubelet that restarts ends those whose node has no label any more.`;
    screen.out(`${wrap(warning, screen.columns).join('\n')}\n`);
    if (!(await ask('Go on? [y/N] '))) {
      screen.out('Nothing was written.\n');
      return EXIT.problem;
    }
  }
  const print = (line: string) => screen.out(`${line}\n`);
  const options = { kube: api, print, ...(settleMs === undefined ? {} : { settleMs }) };
  const left = await cleanNodes(marked, options, signal).catch((error: unknown) => {
    throw new Error(`Not every node was written; run it again: ${errorLine(error)}`);
  });
  return left === 0 ? EXIT.fine : EXIT.problem;
}
