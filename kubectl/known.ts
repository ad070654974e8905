import { SETTINGS } from '../agent/config.ts';
import { OWN_KEYS } from '../agent/node/object.ts';

/** The label of proven nodes, by which the scheduler goes. */
export const READY = OWN_KEYS.labels.ready;

/** The label by which a namespace requires gVisor. */
export const REQUIRE = 'require-gvisor';

/** The RuntimeClass of manifests/base. */
export const RUNTIME_CLASS = 'gvisor';

/** The handler that agents prove unless told. */
export const HANDLER = SETTINGS.HANDLER.fallback;

/** How many of some are named in a line before it only says how many more there are. */
const NAMED = 3;

/** Names for a line: "a, b, c and 397 more". */
export function named(names: readonly string[]): string {
  const more = names.length - NAMED;
  return more > 1 ? `${names.slice(0, NAMED).join(', ')} and ${more} more` : names.join(', ');
}

/** A count with its noun: "1 node", "3 nodes". */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
