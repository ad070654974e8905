import type { Status } from '../report.ts';
import { PROOF_TONES, seconds } from '../text/format.ts';
import type { Told } from '../text/told.ts';
import { html, type Markup } from './html.ts';
import { instant, mark, reasonLink } from './parts.ts';

/** The last attempt to boot a sandbox, in figures, or in containerd's words, which stand here unshortened. */
export function renderProof({ proof, provenAt, facts, handler }: Status, told: Told): Markup {
  const last = provenAt === undefined ? html`never since the agent started` : instant(provenAt);
  if (proof.kind !== 'proven') {
    const words = told.tell(proof.message);
    return html`<section aria-labelledby="proof">
<h2 id="proof">Proof</h2>
<p>${mark(PROOF_TONES[proof.kind], proof.kind)} ${reasonLink(proof.reason, 'proof-reason')} A sandbox of handler "${handler}" was asked for${words === proof.message ? ':' : '; the answer is above.'}</p>
${words === proof.message ? html`<pre>${words}</pre>` : undefined}
<p class="quiet">Last proven: ${last}</p>
</section>`;
  }
  const figures: readonly (readonly [string, string | undefined])[] = [
    ['Boot', seconds(proof.bootMs)],
    ['Teardown', seconds(proof.teardownMs)],
    ['Process of the sandbox', `${proof.witness.argv[0]} (${proof.witness.pid})`],
    ['Kernel of the host', facts.kernel],
  ];
  return html`<section aria-labelledby="proof">
<h2 id="proof">Proof</h2>
<dl class="figures">${figures.map(([name, value]) =>
    value === undefined ? undefined : html`<div><dt>${name}</dt><dd>${value}</dd></div>`,
  )}</dl>
<p class="quiet">A sandbox of handler "${handler}" booted, was gVisor's, and went away. Last proven: ${last}</p>
</section>`;
}
