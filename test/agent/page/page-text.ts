import assert from 'node:assert/strict';
import { renderPage } from '../../../agent/page/page.ts';
import type { Status } from '../../../agent/report.ts';

/** What a person reads: without tags, scripts and styles, on one line. */
export function textOf(page: string): string {
  return page
    .replace(/<(script|style)>[\s\S]*?<\/\1>/g, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&(quot|#39|lt|gt|amp);/g, (entity) => UNESCAPED[entity] ?? entity)
    .replace(/\s+/g, ' ');
}

const UNESCAPED: Readonly<Record<string, string>> = {
  '&quot;': '"',
  '&#39;': "'",
  '&lt;': '<',
  '&gt;': '>',
  '&amp;': '&',
};

/** Fails unless a person reads each of these words on the page. */
export function says(status: Status | undefined, ...words: readonly string[]): void {
  const text = textOf(renderPage(status));
  for (const word of words) assert.ok(text.includes(word), `the page does not say "${word}": ${text}`);
}
