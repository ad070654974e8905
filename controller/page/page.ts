import { readFileSync } from 'node:fs';
import { sanitize } from '../../lib/base/sanitize.ts';

/** Style, script and data come from the controller alone. */
export const PAGE_POLICY = [
  "default-src 'none'",
  "style-src 'self'",
  "script-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export const HTML = 'text/html; charset=utf-8';
/** By path; the bundle has their text in place of these calls (hack/bundle.ts). */
export const ASSETS: Readonly<Record<string, readonly [text: string, type: string]>> = {
  '/': [readFileSync(new URL('./fleet.html', import.meta.url), 'utf8'), HTML],
  '/style.css': [readFileSync(new URL('./style.css', import.meta.url), 'utf8'), 'text/css; charset=utf-8'],
  '/fleet.js': [
    readFileSync(new URL('./fleet.js', import.meta.url), 'utf8'),
    'text/javascript; charset=utf-8',
  ],
};

/** Shows the text of a node's agent, which may be hostile, and loads itself again. Its links suit any path of a proxy. */
export function renderNodePage(node: string, text: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="10">
<title>${escapeHtml(node)} · gvisor-ready</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 2 2'%3E%3Ccircle cx='1' cy='1' r='1' fill='%231b5e8c'/%3E%3C/svg%3E">
<link rel="stylesheet" href="../../style.css">
</head>
<body>
<header>
<p class="brand">gvisor-ready</p>
<nav aria-label="More"><a href="../../">All nodes</a></nav>
</header>
<main>
<h1>${escapeHtml(node)}</h1>
<pre>${escapeHtml(text)}</pre>
</main>
<footer><p>This page updates itself. Times are in UTC.</p></footer>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  return sanitize(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
