import timers from 'node:timers/promises';
import { pooledMap } from '../agent/async.ts';
import { DAEMON_SET, NAMESPACE } from '../agent/kube/access.ts';
import type { Kube } from '../agent/kube/client.ts';
import { KubeError } from '../agent/kube/error.ts';
import {
  CONDITION,
  type NodeObject,
  OWN_KEYS,
  statusPatch,
  taintPatch,
  valueIn,
} from '../agent/node/object.ts';
import { errorLine } from '../agent/sanitize.ts';
import { wrap } from '../agent/text/format.ts';
import { pagesOf } from '../fleet/informers.ts';
import { orAbsent } from './agents.ts';
import { readDaemonSet } from './check-cluster.ts';
import { type Context, EXIT, UsageError } from './context.ts';
import { count, named } from './known.ts';
import { printProblem } from './output.ts';

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
    printProblem(
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

/** What cleaning needs: the API server, and where its lines go. */
export type CleanOptions = {
  readonly kube: Pick<Kube, 'get' | 'patch'>;
  readonly print: (line: string) => void;
  /** How long to wait before looking whether an agent has written anew, milliseconds. */
  readonly settleMs?: number;
};

const PAGE = '200';
const AT_ONCE = 8;
const ATTEMPTS = 5;

/** How many Nodes there are, and those that carry something of the agents. */
export async function findMarked(
  kube: Pick<Kube, 'get'>,
  signal: AbortSignal,
): Promise<{ readonly nodes: number; readonly marked: readonly NodeObject[] }> {
  let nodes = 0;
  const marked: NodeObject[] = [];
  const get = (path: string) => kube.get(path, signal);
  for await (const { items = [] } of pagesOf<NodeObject>(get, '/api/v1/nodes', { limit: PAGE })) {
    nodes += items.length;
    marked.push(...items.filter(isMarked));
  }
  return { nodes, marked };
}

/**
 * Takes labels, annotations, taint and condition of the agents off these Nodes. Gives the number of Nodes that carry some of it still, because an agent
 * that still runs has written them again; rejects when a Node cannot be written.
 */
export async function cleanNodes(
  marked: readonly NodeObject[],
  { kube, print, settleMs = 5_000 }: CleanOptions,
  signal: AbortSignal,
): Promise<number> {
  await pooledMap(marked, AT_ONCE, async (node) => {
    await clean(node, kube, signal);
    print(`${node.metadata.name}: cleaned`);
  });
  if (marked.length === 0) return 0;
  await timers.setTimeout(settleMs, undefined, { signal });
  const again = await findMarked(kube, signal);
  for (const { metadata } of again.marked) {
    print(
      `${metadata.name}: written again by an agent that still runs: delete the DaemonSet, then run this again`,
    );
  }
  return again.marked.length;
}

/** Cleans one Node; after a conflict it reads the Node again, and a Node that is gone is clean. */
async function clean(found: NodeObject, kube: CleanOptions['kube'], signal: AbortSignal): Promise<void> {
  const path = `/api/v1/nodes/${found.metadata.name}`;
  let node = found;
  for (let attempt = 1; ; attempt++) {
    try {
      const marks = marksOf(node);
      const removal = hasCondition(node) ? ({ $patch: 'delete', type: CONDITION } as const) : undefined;
      const status = statusPatch(marks, removal);
      if (status !== undefined)
        node = (await kube.patch(`${path}/status`, status, 'strategic', signal)) as NodeObject;
      const taint = taintPatch(node, marks);
      if (taint !== undefined) await kube.patch(path, taint, 'merge', signal);
      return;
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return;
      const busy = error instanceof KubeError && [409, 429, 503].includes(error.status);
      if (!busy || attempt === ATTEMPTS) throw error;
      await timers.setTimeout(error.retryAfterMs ?? attempt * 200, undefined, { signal });
      node = (await kube.get(path, signal)) as NodeObject;
    }
  }
}

function isMarked(node: NodeObject): boolean {
  return hasCondition(node) || marksOf(node).length > 0;
}

function hasCondition({ status }: NodeObject): boolean {
  return status?.conditions?.some(({ type }) => type === CONDITION) ?? false;
}

/** What a Node carries of the agents' labels, annotations and taint, as differences that take them away. */
function marksOf(node: NodeObject) {
  const { labels, annotations, retired, taint } = OWN_KEYS;
  const entries = [
    ...Object.values(labels).map((key) => ({ part: 'labels', key, value: null }) as const),
    ...Object.values({ ...annotations, ...retired }).map(
      (key) => ({ part: 'annotations', key, value: null }) as const,
    ),
    { part: 'taint', key: taint, value: null } as const,
  ];
  return entries.filter((entry) => valueIn(node, entry) !== null);
}
