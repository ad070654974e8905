import type { DestinationStream } from 'pino';
import { sanitizeLine } from '../../lib/base/sanitize.ts';

/** Standard error, with sentences instead of JSON lines. */
export const SENTENCES: DestinationStream = {
  write: (line: string) => void process.stderr.write(sentenceOf(line)),
};

const OMITTED = ['level', 'time', 'node', 'msg', 'err'];

/** Message, error, and the other fields in brackets. */
export function sentenceOf(line: string): string {
  const entry = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const { msg, err } = entry as { readonly msg?: string; readonly err?: { readonly message?: string } };
  const fields = Object.entries(entry).filter(([name]) => !OMITTED.includes(name));
  const details = fields.map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const cause = err?.message === undefined ? '' : `: ${err.message}`;
  const sentence = `! ${msg ?? ''}${cause}${details.length === 0 ? '' : ` (${details.join(', ')})`}`;
  return `${sanitizeLine(sentence)}\n`;
}
