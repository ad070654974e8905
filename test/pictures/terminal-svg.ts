/** A line of a program's output, with the time in milliseconds since its start. */
export type PrintedLine = { readonly atMs: number; readonly text: string };

const ROWS = 27;
const COLUMNS = 112;
const CHARACTER = 7.8;
const LINE = 18;
const MARGIN = 14;
/** Longer pauses are shortened to this. */
const MAX_PAUSE_MS = 2_000;
/** How long the last screen is shown before the loop restarts. */
const HOLD_MS = 10_000;

/**
 * An SVG that plays a program's output in a loop, scrolling like a terminal. Without animation, or with reduced motion, it
 * shows the last screen.
 */
export function terminalSvg(lines: readonly PrintedLine[]): string {
  const times = shorten(lines.map(({ atMs }) => atMs));
  const whole = (times.at(-1) ?? 0) + HOLD_MS;
  const percent = (ms: number) => `${((100 * ms) / whole).toFixed(2)}%`;
  const width = Math.round(COLUMNS * CHARACTER + 2 * MARGIN);
  const height = Math.min(ROWS, lines.length) * LINE + 2 * MARGIN;
  const offset = (count: number) => Math.max(0, count - ROWS) * LINE;
  const shows = times.map((ms, at) => `@keyframes l${at}{0%{opacity:0}${percent(ms)},100%{opacity:1}}`);
  const scrolls = times.map((ms, at) => `${percent(ms)}{transform:translateY(-${offset(at + 1)}px)}`);
  const texts = lines.map(({ text }, at) => {
    const y = MARGIN + at * LINE + 13;
    const bold = /^(\$|\d+\.) /.test(text) ? ' class="b"' : '';
    return `<text y="${y}"${bold} style="animation-name:l${at}">${markup(text.slice(0, COLUMNS))}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<style>
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d0d7de;white-space:pre}
.b{font-weight:bold;fill:#fff}.g{fill:#57d364}.r{fill:#ff7b72}
g{transform:translateY(-${offset(lines.length)}px);animation:s ${whole}ms step-end infinite}
text{animation:${whole}ms step-end infinite}
${shows.join('\n')}
@keyframes s{0%{transform:none}${scrolls.join('')}100%{transform:translateY(-${offset(lines.length)}px)}}
@media (prefers-reduced-motion){g,text{animation:none}}
</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<svg x="${MARGIN}" y="${MARGIN}" width="${width - 2 * MARGIN}" height="${height - 2 * MARGIN}" viewBox="0 ${MARGIN} ${width - 2 * MARGIN} ${height - 2 * MARGIN}"><g>
${texts.join('\n')}
</g></svg>
</svg>
`;
}

/** The times without pauses above {@link MAX_PAUSE_MS}. */
function shorten(times: readonly number[]): number[] {
  let now = 0;
  return times.map((ms, at) => {
    now += Math.min(MAX_PAUSE_MS, ms - (times[at - 1] ?? 0));
    return Math.round(now);
  });
}

/** The text as markup, with a terminal's colours. */
function markup(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replace('✓', '<tspan class="g">✓</tspan>')
    .replace('✗', '<tspan class="r">✗</tspan>')
    .replace(/\b(true +True|false +False)\b/, (words) => {
      return `<tspan class="${words.startsWith('true') ? 'g' : 'r'}">${words}</tspan>`;
    });
}
