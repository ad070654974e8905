import { readFileSync } from 'node:fs';

/** What the agent's page and the fleet's share; the image's bundle holds the text in place of these calls (hack/bundle.ts). */
export const BASE_STYLE = readFileSync(new URL('./base.css', import.meta.url), 'utf8');

/** The page's own style. */
const OWN_STYLE = readFileSync(new URL('./page.css', import.meta.url), 'utf8');

/** All of the page's style. */
export const STYLE = `${BASE_STYLE}${OWN_STYLE}`;

/** The page's script. */
export const SCRIPT = readFileSync(new URL('./refresh.js', import.meta.url), 'utf8');
