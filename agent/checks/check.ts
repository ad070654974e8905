import type { Seen } from '../finding.ts';
import type { Witness } from '../proof/witness.ts';
import type { Reading, Sources } from './reading.ts';

/**
 * One question about the node. `inspect` returns what it saw, or throws when it could not look; the runner turns a
 * throw into an unknown finding. The witness is what the proof of this look showed; absent while it has not been made,
 * or where it failed. `id` is the name of the file.
 */
export type Check = {
  readonly id: string;
  readonly title: string;
  readonly inspect: (reading: Reading, witness: Witness | undefined) => Promise<Seen>;
  /** Whether a node is ready only if this check could look, because a sandbox does not reveal what it looks for. */
  readonly required?: (sources: Sources) => boolean;
};
