import type { Status } from '../report.ts';
import { HEADLINES, MARKS, type StatusTone } from '../text/format.ts';
import { Told } from '../text/told.ts';
import { SCRIPT, STYLE } from './assets.ts';
import { renderChecks } from './checks.ts';
import { renderFacts, renderHistory } from './history.ts';
import { html, type Markup, trusted } from './html.ts';
import { renderProof } from './proof.ts';
import { HIDDEN_PODS, renderPods, renderWritten } from './surroundings.ts';
import { emblem, renderVerdict, STROKES } from './verdict.ts';

type Page = { readonly tone: StatusTone; readonly title: string; readonly body: Markup };
type Surround = { readonly head?: Markup; readonly foot: Markup };

/** The agent's page for people, whole and without anything from elsewhere; works without JavaScript. */
export function renderPage(status: Status | undefined, podsAreHidden = false): string {
  return renderDocument({
    ...(status === undefined ? starting() : looked(status, podsAreHidden)),
    head: html`<noscript><meta http-equiv="refresh" content="30"></noscript>`,
    foot: html`<footer><p>This page follows the agent by itself. Times are in UTC.</p></footer>
<script>${trusted(SCRIPT)}</script>`,
  });
}

/** A page with the agent's style and links: `head` and `foot` are what it has besides. */
export function renderDocument({ tone, title, body, head, foot }: Page & Surround): string {
  const [symbol] = MARKS[tone];
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${head}
<title>${symbol} ${title}</title>
<link rel="icon" id="icon" href="data:image/svg+xml,${encodeURIComponent(icon(tone))}">
<style>${trusted(STYLE)}</style>
</head>
<body>
<header>
<p class="brand">gvisor-ready</p>
<nav aria-label="More of this agent">${['reasons', 'report', 'metrics', 'livez', 'readyz'].map(
    (path) => html`<a href="./${path}">/${path}</a>`,
  )}</nav>
</header>
<p id="live" role="status"></p>
<main>${body}</main>
${foot}
</body>
</html>
`.toString();
}

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

/** In the order in which a tired person asks; an error that several parts carry is told in the first of them. */
function looked(status: Status, podsAreHidden: boolean): Page {
  const [tone, headline] = HEADLINES[status.verdict.status];
  const told = new Told();
  const verdict = renderVerdict(status, told);
  const proof = renderProof(status, told);
  told.note(status.verdict.message);
  told.note(status.evaluation.verdict.message);
  const body = html`${verdict}
<div class="pair around">${podsAreHidden ? HIDDEN_PODS : renderPods(status)}${renderWritten(status)}</div>
${proof}
${renderChecks(status, told)}
<div class="pair">${renderFacts(status)}${renderHistory(status, told)}</div>`;
  return { tone, title: `${status.node}: ${headline}`, body };
}

const COLORS: Readonly<Record<StatusTone, string>> = {
  pass: '#1f7a4d',
  fail: '#b3362f',
  unknown: '#8a6100',
};

function icon(tone: StatusTone): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="${COLORS[tone]}"/><path d="${STROKES[tone]}" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
}
