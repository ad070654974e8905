import pino, { type Logger } from 'pino';
import type { Config } from '../config.ts';
import { sanitizeLine } from '../sanitize.ts';

/**
 * The agent's log: JSON, a line each, on standard output. For people, and beside the answer of a single look, it is
 * only what they should know, a sentence each, on standard error.
 */
export function openLog({ nodeName, logLevel }: Config, asSentences: boolean): Logger {
  const base = { node: nodeName };
  if (!asSentences) return pino({ level: logLevel, base });
  const write = (line: string) => void process.stderr.write(sentenceOf(line));
  return pino({ level: 'warn', base }, { write });
}

/** What a sentence leaves out. */
const COMMON = ['level', 'time', 'node', 'msg', 'err'];

/** A log line as a sentence: the message, the error behind it, and the other fields in brackets. */
export function sentenceOf(line: string): string {
  const entry = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const { msg, err } = entry as { readonly msg?: string; readonly err?: { readonly message?: string } };
  const told = Object.entries(entry).filter(([name]) => !COMMON.includes(name));
  const details = told.map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const cause = err?.message === undefined ? '' : `: ${err.message}`;
  const sentence = `! ${msg ?? ''}${cause}${details.length === 0 ? '' : ` (${details.join(', ')})`}`;
  return `${sanitizeLine(sentence)}\n`;
}
