import type { DestinationStream } from 'pino';
import { sanitizeLine } from '../../lib/base/sanitize.ts';

/** Standard error, with sentences instead of JSON lines. */
export const SENTENCES: DestinationStream = {
  write: (line: string) => void process.stderr.write(sentenceOf(line)),
};

/** Message, error, and the other fields in brackets. */
export function sentenceOf(line: string): string {
  const { level: _, time: __, node: ___, msg = '', err, ...fields } = JSON.parse(line);
  const details = Object.entries(fields).map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const cause = err?.message === undefined ? '' : `: ${err.message}`;
  return `${sanitizeLine(`! ${msg}${cause}${details.length === 0 ? '' : ` (${details.join(', ')})`}`)}\n`;
}

/**
 * Writes to standard error, which the log does not use: Node never waits for the reader of this pipe, and what nobody reads
 * leaves the log its own. Resolves once the line is written, which may be never.
 */
export function writeLine(line: string): Promise<void> {
  return new Promise((resolve) => {
    process.stderr.write(line, () => resolve());
  });
}
