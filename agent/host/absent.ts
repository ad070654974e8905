/**
 * True for the error codes that mean "no such file", which is an answer and not a failure to look.
 * ESRCH is what /proc says of a process that ended just now:
 * https://man7.org/linux/man-pages/man5/proc.5.html
 */
export function isAbsent(cause: unknown): boolean {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH';
}
