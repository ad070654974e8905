import { CriError } from './host/cri-error.ts';
import type { Reason } from './reasons.ts';

/** The reason code of a look that ended with this error instead of an answer. */
export function reasonUnseen(error: unknown): Reason {
  if (!(error instanceof CriError)) return 'CheckFailed';
  return error.kind === 'late' ? 'CheckTimedOut' : 'ContainerdUnreachable';
}
