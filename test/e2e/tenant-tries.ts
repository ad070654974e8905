import { EXEC_TRIES } from './tenant-exec-tries.ts';
import { OWN_ROOT_TRIES } from './tenant-own-root.ts';
import { POD_TRIES } from './tenant-pod-tries.ts';
import { PROCESS_TRIES } from './tenant-process-tries.ts';
import { SHARED_TRIES } from './tenant-shared-tries.ts';
import type { Try } from './tenant-try.ts';

/** The tries of a tenant with every right in a namespace at Pod Security "baseline". */
export const TRIES: readonly Try[] = [
  ...PROCESS_TRIES,
  ...OWN_ROOT_TRIES,
  ...EXEC_TRIES,
  ...POD_TRIES,
  ...SHARED_TRIES,
];
