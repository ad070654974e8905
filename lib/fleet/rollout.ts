import { type Installation, isUnderWay } from '../host/installation.ts';
import { firstOf, namesBy } from './objects.ts';
import { describeWaiting, type Waiting } from './turns.ts';

/** On the nodes where the installer was used. */
export type Rollout = Readonly<NonNullable<ReturnType<typeof rolloutOf>>>;

export type NodeInstallation = Pick<Installation, 'installed' | 'pending' | 'failure'>;

/** Undefined if the installer was used on no node, and none waits for it. */
export function rolloutOf(
  nodes: readonly (readonly [string, NodeInstallation])[],
  waiting: readonly Waiting[] = [],
) {
  if (nodes.length === 0 && waiting.length === 0) return undefined;
  const installed = namesBy(nodes, ({ installed }) => installed);
  const failed = namesBy(nodes, ({ failure }) => failure && (failure.reason ?? failure.step));
  const where = (holds: (each: NodeInstallation) => boolean) =>
    nodes.filter(([, each]) => holds(each)).map(([node]) => node);
  const underWay = where(isUnderWay);
  const interrupted = where(({ pending }) => pending?.interrupted === true);
  const parts = [
    ...[...installed].map(([release, names]) => `${release} on ${names.length}`),
    underWay.length > 0 && `at work on ${firstOf(underWay)}`,
    interrupted.length > 0 && `interrupted on ${firstOf(interrupted)}`,
    ...[...failed].map(([reason, names]) => `failed on ${firstOf(names)} (${reason})`),
    describeWaiting(waiting),
  ];
  return {
    /** How many nodes have each release. */
    installed: Object.fromEntries([...installed].map(([release, names]) => [release, names.length])),
    /** Nodes on which it is at work. */
    underWay,
    interrupted,
    /** Names of nodes by reason, or by step if no reason names the cause. */
    failed: Object.fromEntries(failed),
    /** Nodes whose turn has not come; absent if none waits. */
    ...(waiting.length > 0 && { waiting }),
    /** The same in a line. */
    text: parts.filter(Boolean).join(', '),
  };
}

/** A few words; "" if nothing is wrong. */
export function noteOf({ pending, failure }: NodeInstallation): string {
  if (pending?.interrupted)
    return `${pending.removes ? 'removal' : 'installation'} of ${pending.release} interrupted`;
  return pending !== undefined || failure === undefined
    ? ''
    : `${failure.release} failed: ${failure.reason ?? failure.step}`;
}
