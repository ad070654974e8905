import { createHash } from 'node:crypto';
import type { Report } from '../report.ts';
import { html, type Markup, trusted } from './html.ts';
import { SCRIPT } from './page-script.ts';
import {
  instant,
  renderChecks,
  renderFacts,
  renderHistory,
  renderProof,
  renderRemedies,
  renderRemedy,
} from './page-sections.ts';
import { STYLE } from './page-style.ts';
import { HEADLINES, MARKS, shortTime, type Tone } from './words.ts';

/** What a browser may do for the page: its own style, its own script, and fetching itself again. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${sha256(STYLE)}'`,
  `script-src 'sha256-${sha256(SCRIPT)}'`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The agent's page for people, whole and without anything from elsewhere; works without JavaScript. */
export function renderPage(report: Report | undefined): string {
  const { tone, title, body } = report === undefined ? starting() : looked(report);
  const [symbol] = MARKS[tone];
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="30"></noscript>
<title>${symbol} ${title}</title>
<link rel="icon" id="icon" href="data:image/svg+xml,${encodeURIComponent(icon(tone))}">
<style>${trusted(STYLE)}</style>
</head>
<body>
<header>
<p class="brand">gvisor-ready</p>
<nav aria-label="For machines">${['report', 'metrics', 'livez', 'readyz'].map(
    (path) => html`<a href="./${path}">/${path}</a>`,
  )}</nav>
</header>
<p id="live" role="status"></p>
<main>${body}</main>
<footer><p>This page follows the agent by itself. Times are in UTC.</p></footer>
<script>${trusted(SCRIPT)}</script>
</body>
</html>
`.toString();
}

type Page = { readonly tone: Tone; readonly title: string; readonly body: Markup };

function starting(): Page {
  return {
    tone: 'unknown',
    title: 'gvisor-ready: the first look has not ended yet',
    body: html`<section class="verdict unknown" aria-labelledby="verdict">
${emblem('unknown')}
<div><h1 id="verdict">Cannot tell yet whether gVisor works here</h1>
<p>The agent has started and the first look has not ended yet. Nothing is published before it has.</p></div>
</section>`,
  };
}

function looked(report: Report): Page {
  const { verdict, look, node, handler } = report;
  const [tone, headline] = HEADLINES[verdict.status];
  const settled = verdict.status === look.verdict.status && verdict.reason === look.verdict.reason;
  const unpublished = verdict.reason === 'AgentStarting';
  const body = html`<section class="verdict ${tone}" aria-labelledby="verdict">
${emblem(tone)}
<div>
<p class="node">${node}</p>
<h1 id="verdict">${headline}</h1>
<p><code>${verdict.reason}</code> ${unpublished ? 'Nothing is published before a look has settled.' : verdict.message}</p>
${renderRemedy(verdict.reason)}
<p class="quiet">Handler "${handler}". Last look: ${instant(look.at)}, took ${shortTime(look.durationMs)}, trigger: ${look.trigger}</p>
</div>
</section>
${settled ? undefined : pending(report)}
${renderRemedies(report)}
${renderProof(report)}
${renderChecks(report)}
<div class="pair">${renderFacts(report)}${renderHistory(report)}</div>`;
  return { tone, title: `${node}: ${headline}`, body };
}

/** What the last look came to, where that is not (yet) what is published. */
function pending({ look }: Report): Markup {
  const [tone, headline] = HEADLINES[look.verdict.status];
  return html`<section class="pending ${tone}" aria-labelledby="pending">
<h2 id="pending">What the last look came to; not published yet</h2>
<p><span aria-hidden="true">${MARKS[tone][0]}</span> ${headline}: <code>${look.verdict.reason}</code> ${look.verdict.message}</p>
${renderRemedy(look.verdict.reason)}
</section>`;
}

const STROKES: Readonly<Record<Tone, string>> = {
  pass: 'M10 16.5l4.2 4.2L22.5 12',
  fail: 'M11.5 11.5l9 9m0-9l-9 9',
  warning: 'M16 9v8.5M16 22v.1',
  unknown: 'M12.6 13a3.5 3.5 0 1 1 5.2 3c-1.2.7-1.8 1.4-1.8 2.9M16 22.6v.1',
};

function emblem(tone: Tone): Markup {
  return html`<svg class="emblem" viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="15"/><path d="${STROKES[tone]}"/></svg>`;
}

const COLORS: Readonly<Record<Tone, string>> = {
  pass: '#1f7a4d',
  fail: '#b3362f',
  warning: '#8a6100',
  unknown: '#8a6100',
};

function icon(tone: Tone): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="${COLORS[tone]}"/><path d="${STROKES[tone]}" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
