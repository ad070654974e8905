const MAX_CAUSES = 8;

/** An error and its causes as one line without repetition: `Cannot read host file "/x": EACCES`. */
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
  // The message of a system error repeats the local path.
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) && 'syscall' in error ? code : error.message;
}

/**
 * Control characters (except tab and newline) and bidi overrides. Spelt out, because \p{Cc} and \p{Bidi_Control} would
 * load Unicode tables: 0.3 MiB on each node.
 */
const DECEPTIVE = /[^\t\n -~\u00a0-\u061b\u061d-\u200d\u2010-\u2029\u202f-\u2065\u206a-\uffff]/g;

/** Replaces characters that a terminal or a browser would act on, or that mislead a reader. */
export function sanitize(text: string): string {
  return text.toWellFormed().replace(DECEPTIVE, '\ufffd');
}

export function sanitizeLine(text: string): string {
  return sanitize(text).replace(/\s+/g, ' ');
}
