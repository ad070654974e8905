import type { Pod } from '../pods/pod.ts';
import type { Status } from '../report.ts';
import type { Tone } from '../text/format.ts';
import { describePods } from '../text/pod-words.ts';
import { html, type Markup } from './html.ts';
import { mark, since } from './parts.ts';

/** The pods of this node that run outside of gVisor, or in a weakened sandbox; those that must not come first. */
export function renderPods({ pods }: Status): Markup {
  if (pods === undefined)
    return section('unknown', html`<p class="quiet">The pods of this node were not read yet.</p>`);
  const { tone, headline, remedy, rest } = describePods(pods);
  return section(
    tone,
    html`<p>${mark(tone, headline)}</p>
${pods.violating.length + pods.weakened.length === 0 ? undefined : list([...pods.violating, ...pods.weakened])}
${remedy === undefined ? undefined : html`<p>${remedy}</p>`}
${renderRest(rest, [...pods.permitted, ...pods.unknown])}`,
  );
}

/** Shown instead of the pods to requests from the network. */
export const HIDDEN_PODS = section(
  'skipped',
  html`<p class="quiet">Their names are shown only over <code>kubectl port-forward -n gvisor-ready pod/POD 9477</code>, by <code>kubectl gvisor-ready pods</code>, and in events on the pods.</p>`,
);

function section(tone: Tone, body: Markup): Markup {
  return html`<section class="pods ${tone}" aria-labelledby="pods">
<h2 id="pods">Pods outside of gVisor</h2>
${body}
</section>`;
}

function renderRest(rest: string | undefined, pods: readonly Pod[]): Markup | undefined {
  if (rest === undefined) return undefined;
  if (pods.length === 0) return html`<p class="quiet">${rest}</p>`;
  return html`<details id="others"><summary id="open-others">${rest}</summary>${list(pods)}</details>`;
}

function list(pods: readonly Pod[]): Markup {
  return html`<ul role="list" class="evidence">${pods.map(
    ({ namespace, name, handler, evidence }) =>
      html`<li><b>${namespace}/${name}</b><span>${evidence}${handler === '' ? '' : `, handler "${handler}"`}</span></li>`,
  )}</ul>`;
}

/** What the Node has: labels, condition and taint, and what keeps the agent from writing them. */
export function renderWritten({ nodeWrites, node }: Status): Markup {
  const { labels = {}, condition, tainted = false, problem } = nodeWrites ?? {};
  const rows: [kind: string, name: string, value: Markup | string][] = [];
  for (const [key, value] of Object.entries(labels)) rows.push(['Label', key, value]);
  if (condition !== undefined) {
    const { type, status, reason, lastTransitionTime: at } = condition;
    rows.push(['Condition', type, html`${status} ${reason}, <span class="quiet">since ${since(at)}</span>`]);
  }
  if (tainted) rows.push(['Taint', 'not-ready', 'NoSchedule']);
  const nothing =
    nodeWrites === undefined
      ? 'This agent writes to no Node (PUBLISH is empty).'
      : 'Nothing is known to stand there yet.';
  return html`<section aria-labelledby="written">
<h2 id="written">In the Node <small>${node}</small></h2>
${problem === undefined ? undefined : html`<p>${mark('fail', 'not Ready')} ${problem}</p>`}
${
  rows.length === 0
    ? html`<p class="quiet">${nothing}</p>`
    : html`<dl class="facts written">${rows.map(
        ([kind, name, value]) => html`<div><dt>${kind} <code>${name}</code></dt><dd>${value}</dd></div>`,
      )}</dl>`
}
</section>`;
}
