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
