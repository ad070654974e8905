import { CriError } from './cri/error.ts';
import { LateError } from './host/turns.ts';
import { NotVisible } from './host/visible.ts';
import { WrongRuntime } from './proof/place.ts';
import type { Reason } from './reasons.ts';

/** The reason code of a look that ended with this error instead of an answer. */
export function reasonForError(error: unknown): Reason {
  if (error instanceof NotVisible) return 'NotVisible';
  if (error instanceof WrongRuntime) return 'WrongRuntime';
  if (error instanceof LateError) return 'CheckTimedOut';
  if (!(error instanceof CriError)) return 'CheckFailed';
  if (error.kind === 'late') return 'CheckTimedOut';
  // A call that nobody here has cut off broke with the connection.
  return error.kind === 'unreachable' || error.kind === 'aborted' ? 'ContainerdUnreachable' : 'CheckFailed';
}
