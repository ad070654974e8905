import { readFileSync } from 'node:fs';
import { Dedupe, HEADLINES, MARKS, type StatusTone } from '../../lib/report/format.ts';
import type { Status } from '../../lib/report/report.ts';
import { html, type Markup } from './html.ts';
import {
  emblem,
  renderChecks,
  renderFacts,
  renderHandlers,
  renderHistory,
  renderInstallation,
  renderNodeWrites,
  renderPodCounts,
  renderProof,
  renderSandboxes,
  renderVerdict,
  STROKES,
} from './sections.ts';

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

const SCRIPT = 'text/javascript; charset=utf-8';
/** By path; the bundle has their text in place of these calls (hack/bundle.ts). */
export const ASSETS: Readonly<Record<string, readonly [text: string, type: string]>> = {
  '/style.css': [readFileSync(new URL('./style.css', import.meta.url), 'utf8'), 'text/css; charset=utf-8'],
  '/fleet.js': [readFileSync(new URL('./fleet.js', import.meta.url), 'utf8'), SCRIPT],
  '/node.js': [readFileSync(new URL('./node.js', import.meta.url), 'utf8'), SCRIPT],
  '/reload.js': [readFileSync(new URL('./reload.js', import.meta.url), 'utf8'), SCRIPT],
};

type Document = {
  /** Relative, so that the pages work below any path of a proxy. */
  readonly root: '.' | '../..';
  readonly kind: 'fleet' | 'node';
  readonly title: string;
  readonly icon: Markup;
  readonly nav: Markup;
  readonly body: Markup;
  readonly footer: string;
};

function renderDocument({ root, kind, title, icon, nav, body, footer }: Document): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${kind === 'node' ? html`<noscript><meta http-equiv="refresh" content="30"></noscript>` : undefined}
<title>${title}</title>
<link rel="icon" id="icon" href="data:image/svg+xml,${encodeURIComponent(String(icon))}">
<link rel="stylesheet" href="${root}/style.css">
<script type="module" src="${root}/${kind}.js"></script>
</head>
<body class="${kind}-page">
<header>
<p class="brand">gvisor-ready</p>
<nav aria-label="More">${nav}</nav>
</header>
<p id="live" role="status"></p>
<main>${body}</main>
<footer><p>${footer}</p></footer>
</body>
</html>
`.toString();
}

const COLUMNS = ['Node', 'gVisor', 'Why', 'Since', 'Last proof', 'Agent', 'gVisor release', 'containerd'];

/** fleet.js fills it from /fleet. */
export const FLEET_PAGE = renderDocument({
  root: '.',
  kind: 'fleet',
  title: 'gvisor-ready: the fleet',
  icon: renderIcon('#1b5e8c', ''),
  nav: html`<a href="./fleet">/fleet</a><a href="./metrics">/metrics</a>`,
  body: html`<h1 id="headline">The fleet</h1>
<noscript><p>This page needs JavaScript. The same data is at <a href="./fleet">/fleet</a>.</p></noscript>
<p id="others"></p>
<ul id="alarms"></ul>
<dl id="counts"></dl>
<search>
<form id="filters">
<label>Name <input id="by-name" type="search" autocomplete="off" spellcheck="false"></label>
<label>Reason <select id="by-reason"><option value="">all</option></select></label>
</form>
</search>
<p id="shown" role="status"></p>
<div id="groups"></div>
<template id="group"><details>
<summary><span class="title"><span class="symbol" aria-hidden="true"></span> <code></code> <b class="count"></b></span> <span class="meaning"></span> <span class="members"></span></summary>
<table><thead><tr>${COLUMNS.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody></tbody></table>
<button type="button">Show more nodes</button>
</details></template>
<dl id="releases"></dl>`,
  footer: 'This page updates itself. Times are in your local time zone.',
});

const COLORS: Readonly<Record<StatusTone, string>> = { pass: '#1f7a4d', fail: '#b3362f', unknown: '#8a6100' };

/** Undefined before the agent's first evaluation has ended. */
export function renderNodePage(status: Status | undefined): string {
  const [tone, headline] = status === undefined ? STARTING : HEADLINES[status.verdict.status];
  return renderDocument({
    root: '../..',
    kind: 'node',
    title: `${MARKS[tone][0]} ${status?.node ?? 'gvisor-ready'}: ${headline}`,
    icon: renderIcon(COLORS[tone], STROKES[tone]),
    nav: html`<a href="../../">All nodes</a>`,
    body: status === undefined ? STARTING_SECTION : renderSections(status),
    footer: 'This page updates itself. Times are in UTC.',
  });
}

const STARTING = ['unknown', 'the first evaluation has not ended yet'] as const;
const STARTING_SECTION = html`<section class="verdict unknown" aria-labelledby="verdict">
${emblem('unknown')}
<div><h1 id="verdict">Unknown yet whether gVisor works here</h1>
<p>The agent has started, and its first evaluation has not ended yet. Nothing is published before that.</p></div>
</section>`;

/** Most urgent first; repeated errors are shown once. */
function renderSections(status: Status): Markup {
  const dedupe = new Dedupe();
  const verdict = renderVerdict(status, dedupe);
  const proof = renderProof(status, dedupe);
  dedupe.add(status.verdict.message);
  dedupe.add(status.evaluation.verdict.message);
  const handlers = renderHandlers(status, dedupe);
  return html`${verdict}
${handlers}
<div class="pair around">${renderPodCounts(status)}${renderNodeWrites(status)}</div>
${renderInstallation(status)}
${renderSandboxes(status)}
${proof}
${renderChecks(status, dedupe)}
<div class="pair">${renderFacts(status)}${renderHistory(status, dedupe)}</div>`;
}

function renderIcon(color: string, stroke: string): Markup {
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="${color}"/><path d="${stroke}" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
}
