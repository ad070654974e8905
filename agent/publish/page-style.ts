/** The page's style: light and dark, from a phone of 320 px to a desk, readable in print and with forced colours. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #faf9f6; --card: #fff; --ink: #1e2428; --quiet: #59636a; --line: #e2dfd8; --link: #1b5e8c;
  --pass: #1a6b43; --pass-tint: #eaf4ee; --fail: #a52d27; --fail-tint: #fbeeec;
  --unknown: #785400; --unknown-tint: #faf3e0; --code: #f0eee9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #13171a; --card: #1a1f23; --ink: #e5e3de; --quiet: #9ba5ab; --line: #2c3338; --link: #8dc3ea;
    --pass: #7fcda3; --pass-tint: #16251e; --fail: #f2a39a; --fail-tint: #2c1c1b;
    --unknown: #e4bf70; --unknown-tint: #292314; --code: #252b30;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 66rem; padding: 1.25rem clamp(1rem, 4vw, 2.5rem) 3rem;
  background: var(--paper); color: var(--ink);
  font: 400 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
p, h1, h2, ol, ul, dl, dd, pre { margin: 0; padding: 0; }
ol, ul { list-style: none; }
code, pre, .evidence, .node { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
code { padding: .1em .4em; border-radius: .3em; background: var(--code); font-size: .86em; }
pre {
  padding: .75rem 1rem; border-radius: .5rem; background: var(--code);
  font-size: .86rem; line-height: 1.5; white-space: pre-wrap;
}
a { color: var(--link); text-underline-offset: .2em; text-decoration-thickness: 1px; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 3px; border-radius: .25rem; }
.quiet { color: var(--quiet); font-size: .9rem; }

header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; justify-content: space-between; align-items: center; }
.brand { font-weight: 600; letter-spacing: -.01em; }
nav { display: flex; flex-wrap: wrap; gap: 0 1.25rem; font-size: .9rem; }
nav a { padding: .4rem 0; }
#live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
#live.stale {
  position: sticky; top: 0; z-index: 1; width: auto; height: auto; clip-path: none; white-space: normal;
  margin-top: 1rem; padding: .6rem 1rem; border: 1px solid currentColor; border-radius: .5rem;
  background: var(--unknown-tint); color: var(--unknown); font-weight: 600;
}
#live.stale::before { content: "! "; }
section { margin-top: 2.75rem; }
h2 { margin-bottom: .75rem; font-size: 1.15rem; font-weight: 600; letter-spacing: -.01em; line-height: 1.3; }
h2 small { margin-left: .5em; color: var(--quiet); font-size: .9rem; font-weight: 400; letter-spacing: 0; }

.verdict {
  display: flex; gap: clamp(1rem, 3vw, 1.75rem); align-items: flex-start; margin-top: 1.25rem;
  padding: clamp(1.25rem, 4vw, 2.25rem); border: 1px solid var(--line); border-radius: 1rem;
}
.verdict > div { min-width: 0; display: grid; gap: .5rem; }
.verdict h1 {
  font-size: clamp(1.5rem, 1.1rem + 2vw, 2.25rem); font-weight: 650; letter-spacing: -.02em; line-height: 1.2;
  text-wrap: balance;
}
.verdict .node { color: var(--quiet); font-size: .9rem; }
.verdict code { background: var(--card); }
.verdict.pass { background: var(--pass-tint); } .verdict.pass h1 { color: var(--pass); }
.verdict.fail { background: var(--fail-tint); } .verdict.fail h1 { color: var(--fail); }
.verdict.unknown { background: var(--unknown-tint); } .verdict.unknown h1 { color: var(--unknown); }
.emblem { flex: none; width: clamp(2.25rem, 7vw, 3.5rem); fill: none; stroke-linecap: round; stroke-linejoin: round; }
.emblem circle { stroke: currentColor; stroke-width: 1.25; }
.emblem path { stroke: currentColor; stroke-width: 2.5; }
.pass > .emblem { color: var(--pass); } .fail > .emblem { color: var(--fail); } .unknown > .emblem { color: var(--unknown); }
.pending { margin-top: 1rem; padding: 1rem 1.25rem; border: 1px dashed var(--quiet); border-radius: .75rem; }
.pending h2 { margin-bottom: .25rem; font-size: 1rem; }

.remedies { display: grid; gap: .6rem; }
.remedy { padding-left: .9rem; border-left: 3px solid var(--quiet); }
.fail > div > .remedy, .fail > .remedy { border-color: var(--fail); }
.unknown > div > .remedy, .unknown > .remedy { border-color: var(--unknown); }
.remedy b { display: block; font-size: .9rem; font-weight: 600; }
.verdict .remedy { margin-block: .4rem; }
.pending .remedy { margin-top: .75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem 1.5rem; margin-bottom: .75rem; }
.figures div { display: flex; flex-direction: column; }
.figures dt, .facts dt { color: var(--quiet); font-size: .9rem; }
.figures dd { font-size: 1.4rem; font-weight: 600; letter-spacing: -.02em; line-height: 1.3; font-variant-numeric: tabular-nums; }
#proof ~ pre { margin: .75rem 0; }
#proof ~ p code { margin-inline: .35em; }

.mark { white-space: nowrap; font-size: .9rem; font-weight: 600; }
.mark > span { display: inline-block; width: 1.15em; text-align: center; }
.mark.pass { color: var(--pass); } .mark.fail { color: var(--fail); }
.mark.warning, .mark.unknown { color: var(--unknown); }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .7rem 1rem .7rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { padding-block: 0 .5rem; color: var(--quiet); font-size: .9rem; font-weight: 400; }
tbody th { width: 36%; font-weight: 500; }
.status { width: 1%; padding-right: 1.5rem; } .ms { width: 1%; padding-right: 0; white-space: nowrap; text-align: right; }
td.ms { color: var(--quiet); font-size: .9rem; line-height: 1.7; font-variant-numeric: tabular-nums; }
.seen > p { padding-left: 1.15rem; }
summary { cursor: pointer; list-style: none; position: relative; padding-left: 1.15rem; }
summary::-webkit-details-marker { display: none; }
summary::before {
  content: ""; position: absolute; left: .1rem; top: .52em; width: .38em; height: .38em;
  border: solid var(--quiet); border-width: 0 1.5px 1.5px 0; transform: rotate(-45deg);
}
[open] > summary::before { transform: rotate(45deg); top: .42em; }
summary:hover { color: var(--link); }
.evidence { display: grid; gap: .5rem; margin: .6rem 0 .25rem 1.15rem; padding: .75rem 1rem; border-radius: .5rem; background: var(--code); font-size: .82rem; line-height: 1.5; }
.evidence span { white-space: pre-wrap; }
.evidence b { display: block; color: var(--quiet); font-weight: 400; }

.pair { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 0 clamp(2rem, 6vw, 4.5rem); }
.facts div { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: 1rem; padding: .45rem 0; border-bottom: 1px solid var(--line); }
.facts dd { font-size: .95rem; } .facts dt { line-height: 1.65; }
.history li { position: relative; padding: 0 0 1.25rem 1.4rem; border-left: 2px solid var(--line); margin-left: .3rem; }
.history li:last-child { padding-bottom: .25rem; }
.history li::before {
  content: ""; position: absolute; left: -.4rem; top: .5em; width: .7rem; height: .7rem; border: 2px solid var(--paper);
  border-radius: 50%; background: var(--unknown);
}
.history li.pass::before { background: var(--pass); } .history li.fail::before { background: var(--fail); }
.history p:first-child code { margin-left: .35em; }
.history + details, .pair > section > details { margin-top: .75rem; }
details > .history { margin-top: 1rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .9rem; }

@media (max-width: 44rem) {
  section { margin-top: 2.25rem; }
  .verdict { display: block; position: relative; }
  .verdict .emblem { position: absolute; top: 1.1rem; right: 1.1rem; }
  .verdict > div > :first-child { padding-right: 3rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .pair { grid-template-columns: minmax(0, 1fr); }
  table, tbody, td, tbody th { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: grid; grid-template-columns: 1fr auto; gap: .1rem 1rem; padding: .8rem 0; border-bottom: 1px solid var(--line); }
  tbody tr:first-child { border-top: 1px solid var(--line); }
  tbody th, td { width: auto; padding: 0; border: 0; }
  tbody th { grid-column: 1 / -1; grid-row: 2; }
  .seen { grid-column: 1 / -1; grid-row: 3; }
  .pass .seen { color: var(--quiet); }
  .ms { grid-row: 1; grid-column: 2; }
  .seen > p { padding-left: 0; }
  summary { padding-block: .2rem; padding-left: 0; padding-right: 1.5rem; }
  summary::before { left: auto; right: .3rem; top: .7em; }
  [open] > summary::before { top: .6em; }
  .evidence { margin-left: 0; color: var(--ink); }
}
@media print { header nav, #live { display: none; } body { max-width: none; } }
`;
