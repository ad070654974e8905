import assert from 'node:assert/strict';
import { test } from 'node:test';
import { terminalSvg } from '../pictures/terminal-svg.ts';

test('the text of the output is escaped', () => {
  const svg = terminalSvg([
    { atMs: 0, text: '$ echo' },
    { atMs: 10, text: 'a < b && c > d ✓' },
  ]);
  assert.match(svg, />\$ echo<\/text>/);
  assert.match(svg, />a &lt; b &amp;&amp; c > d <tspan class="g">✓<\/tspan><\/text>/);
});

test('lines appear with their original timing, long pauses shortened', () => {
  const svg = terminalSvg([0, 1_000, 61_000].map((atMs) => ({ atMs, text: 'line' })));
  const shown = [...svg.matchAll(/@keyframes l\d\{0%\{opacity:0\}([\d.]+)%/g)].map(([, percent]) =>
    Number(percent),
  );
  const whole = Number(/animation:s (\d+)ms/.exec(svg)?.[1]);
  assert.deepEqual(
    shown.map((percent) => Math.round((percent * whole) / 100_000)),
    [0, 1, 3],
  );
});

test('a full screen scrolls and ends with the last line visible, also with reduced motion', () => {
  const lines = Array.from({ length: 30 }, (_, at) => ({ atMs: at, text: `line ${at}` }));
  const svg = terminalSvg(lines);
  assert.match(svg, /\ng\{transform:translateY\(-54px\);animation:s /);
  assert.match(svg, /100%\{transform:translateY\(-54px\)\}/);
  assert.doesNotMatch(terminalSvg(lines.slice(0, 27)), /translateY\(-[1-9]/);
});
