import { createHash } from 'node:crypto';
import { SCRIPT, STYLE } from './assets.ts';

/** What a browser may do for a page with these sources of style and script: show it, and fetch it again. */
export function pagePolicy(style: string, script: string): string {
  return [
    "default-src 'none'",
    `style-src ${style}`,
    `script-src ${script}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

/** The policy of the agent's page: its own style and its own script alone. */
export const PAGE_POLICY = pagePolicy(`'sha256-${sha256(STYLE)}'`, `'sha256-${sha256(SCRIPT)}'`);

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
