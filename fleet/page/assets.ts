import { readFileSync } from 'node:fs';

/** The page of the fleet; the image's bundle holds the text in place of these calls (hack/bundle.ts). */
export const PAGE = readFileSync(new URL('./fleet.html', import.meta.url), 'utf8');

/** Its own style; the agent's BASE_STYLE comes before it. */
export const STYLE = readFileSync(new URL('./fleet.css', import.meta.url), 'utf8');

/** Its scripts. */
export const SCRIPT = readFileSync(new URL('./fleet.js', import.meta.url), 'utf8');
export const ROWS_SCRIPT = readFileSync(new URL('./rows.js', import.meta.url), 'utf8');
