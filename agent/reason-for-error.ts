import { CriError } from './cri/error.ts';
import { NotVisible } from './host/visible.ts';
import type { Reason } from './reasons.ts';

/** The reason code of a look that ended with this error instead of an answer. */
export function reasonForError(error: unknown): Reason {
  if (error instanceof NotVisible) return 'NotVisible';
  if (!(error instanceof CriError)) return 'CheckFailed';
  return error.kind === 'late' ? 'CheckTimedOut' : 'ContainerdUnreachable';
}
