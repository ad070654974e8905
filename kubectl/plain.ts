import { stripVTControlCharacters } from 'node:util';

/** Control characters, and those that are not seen or turn the order of the others around. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;

/** A text without what a terminal would obey: escape sequences, control and bidirectional characters. */
export function plain(text: string): string {
  return stripVTControlCharacters(text).replace(UNSEEN, ' ');
}

/**
 * The same for every text in a value that was parsed from JSON, in place. Many people, and pods, write the API
 * server's data, so none of it reaches a terminal unescaped.
 */
export function plainValues<T>(value: T): T {
  if (typeof value === 'string') return plain(value) as T;
  if (typeof value !== 'object' || value === null) return value;
  const object = value as Record<string, unknown>;
  for (const [key, each] of Object.entries(object)) {
    if (typeof each === 'string' || typeof each === 'object') object[key] = plainValues(each);
  }
  return value;
}
