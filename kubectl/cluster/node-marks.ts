import timers from 'node:timers/promises';
import { InvalidArgumentError } from 'commander';
import { pooledMap } from '../../lib/base/async.ts';
import { errorLine } from '../../lib/base/sanitize.ts';
import { firstOf } from '../../lib/fleet/objects.ts';
import { KubeError } from '../../lib/kube/error.ts';
import { wrap } from '../../lib/report/format.ts';
import {
  CONDITION,
  type DesiredEntry,
  isOwnKey,
  type NodeObject,
  OWN_KEYS,
  statusPatch,
  taintPatch,
  valueIn,
} from '../../lib/report/node-object.ts';
import type { Api } from '../api/api.ts';
import { type Context, EXIT } from '../api/context.ts';
import { countOf, printLines } from '../text/output.ts';

export type RemovalOptions = {
  readonly yes: boolean;
  /** Absent without a terminal. */
  readonly confirm?: (prompt: string) => Promise<boolean>;
};

/** `marked` have something written by agents. */
export type FoundNodes = { readonly total: number; readonly marked: readonly NodeObject[] };

/**
 * Asks the user first, and reads the Nodes again a moment later: an agent that still runs writes within
 * seconds. `remedy` says what to do then.
 */
export async function removeMarks(
  context: Context,
  { total, marked }: FoundNodes,
  { yes, confirm, remedy }: RemovalOptions & { readonly remedy: string },
): Promise<number> {
  const { api, output, signal } = context;
  printLines(output, [`${marked.length} of ${countOf(total, 'node')} to clean`]);
  if (marked.length === 0) return EXIT.ok;
  const names = marked.map(({ metadata }) => metadata.name);
  const what = `labels, annotations, taint and condition of the agents from ${firstOf(names)} (context "${api.access.context}")`;
  if (!yes) {
    if (confirm === undefined)
      throw new InvalidArgumentError(`There is no terminal to ask on: --yes removes ${what}`);
    const warning = `This removes ${what}. gVisor pods keep running, but a kubelet that restarts ends those on nodes without the label.`;
    printLines(output, wrap(warning, output.width));
    if (!(await confirm('Go on? [y/N] '))) {
      printLines(output, ['Nothing was written.']);
      return EXIT.problem;
    }
  }
  try {
    await pooledMap(marked, CONCURRENCY, async (node) => {
      await cleanNode(node, api, signal);
      printLines(output, [`${node.metadata.name}: cleaned`]);
    });
    await timers.setTimeout(RECHECK_MS, undefined, { signal });
    const again = (await findMarked(api)).marked.filter(({ metadata }) => names.includes(metadata.name));
    for (const { metadata } of again)
      printLines(output, [`${metadata.name}: written again by an agent that still runs: ${remedy}`]);
    return again.length === 0 ? EXIT.ok : EXIT.problem;
  } catch (error) {
    throw new Error(`Not every node was written; run it again: ${errorLine(error)}`);
  }
}

const CONCURRENCY = 8;
const MAX_ATTEMPTS = 5;
/** An agent that still runs writes again before that. */
const RECHECK_MS = 5_000;

export async function findMarked(api: Api, labelSelector?: string): Promise<FoundNodes> {
  const pick = (node: NodeObject) => (isMarked(node) ? node : undefined);
  const nodes = await api.list<NodeObject, NodeObject | undefined>('/api/v1/nodes', { labelSelector }, pick);
  return { total: nodes.length, marked: nodes.filter((node) => node !== undefined) };
}

/** Reads the Node again after a conflict. One that is gone counts as clean. */
async function cleanNode(found: NodeObject, api: Api, signal: AbortSignal): Promise<void> {
  const path = `/api/v1/nodes/${found.metadata.name}`;
  let node = found;
  for (let attempt = 1; ; attempt++) {
    try {
      const removals = removalsFor(node);
      const condition = hasCondition(node) ? ({ $patch: 'delete', type: CONDITION } as const) : undefined;
      const status = statusPatch(removals, condition);
      if (status !== undefined) node = await api.patch<NodeObject>(`${path}/status`, status, 'strategic');
      const taint = taintPatch(node, removals);
      if (taint !== undefined) await api.patch(path, taint, 'merge');
      return;
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return;
      const retriable = error instanceof KubeError && [409, 429, 503].includes(error.status);
      if (!retriable || attempt === MAX_ATTEMPTS) throw error;
      await timers.setTimeout(error.retryAfterMs ?? attempt * 200, undefined, { signal });
      node = await api.get<NodeObject>(path);
    }
  }
}

export function isMarked(node: NodeObject): boolean {
  return hasCondition(node) || removalsFor(node).length > 0;
}

function hasCondition({ status }: NodeObject): boolean {
  return status?.conditions?.some(({ type }) => type === CONDITION) ?? false;
}

/** Every label and annotation of the agents' domain, and the taint. */
function removalsFor(node: NodeObject): DesiredEntry[] {
  const texts = (['labels', 'annotations'] as const).flatMap((part) =>
    Object.keys(node.metadata[part] ?? {})
      .filter(isOwnKey)
      .map((key) => ({ part, key, value: null })),
  );
  const taint = { part: 'taint', key: OWN_KEYS.taint, value: null } as const;
  return valueIn(node, taint) === null ? texts : [...texts, taint];
}
