const MAX_CAUSES = 8;

/** An error and its causes as one line, each said once: `Cannot read host file "/x": EACCES`. */
export function errorLine(error: unknown): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && current !== null && depth < MAX_CAUSES; depth += 1) {
    const text = messageOf(current).replace(/\s+/g, ' ').trim();
    if (text && !parts.some((part) => part.includes(text))) parts.push(text);
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join(': ') || 'unknown error';
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  // The message of a system error repeats the local path; its code alone says what happened.
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) && 'syscall' in error ? code : error.message;
}
