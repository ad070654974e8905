import { recorded } from './sample-reports.ts';

/** Reports of a real agent on the test cluster (test/pictures/record-reports.ts). */
export const SAMPLES = {
  proven: recorded('proven'),
  failing: recorded('failing'),
  outside: recorded('outside'),
} as const;

/** A node without runsc, whose cause a check knows, with a second remedy. The error is a real containerd's. */
export const EXPLAINED = recorded('explained');
