import { readFileSync } from 'node:fs';

/** The page's style; the image's bundle holds the text in place of these calls (hack/bundle.ts). */
export const STYLE = readFileSync(new URL('./page.css', import.meta.url), 'utf8');

/** The page's script. */
export const SCRIPT = readFileSync(new URL('./refresh.js', import.meta.url), 'utf8');
