import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import type { Browser } from 'playwright-core';
import { createAgentServer } from '../../agent/http/server.ts';
import type { Status } from '../../agent/report.ts';
import { renderReport } from '../../agent/text/terminal.ts';
import { REPO } from '../../hack/paths.ts';
import { SAMPLES } from '../agent/text/sample-status.ts';
import { launchChromium } from '../chromium.ts';

type State = keyof typeof SAMPLES;
type Scheme = 'light' | 'dark';
const STATES = Object.keys(SAMPLES) as State[];
const WIDTHS = { desktop: 1100, phone: 390 } as const;
type Picture =
  | {
      readonly of: 'page';
      readonly state: State;
      readonly device: keyof typeof WIDTHS;
      readonly scheme: Scheme;
    }
  | { readonly of: 'terminal'; readonly state: State; readonly scheme: Scheme };

/** The pictures in docs/images by name, of what real agents said (test/docs/record-reports.ts). */
export const PICTURES: Readonly<Record<string, Picture>> = {
  'page-desktop.png': { of: 'page', state: 'failing', device: 'desktop', scheme: 'light' },
  'page-phone.png': { of: 'page', state: 'outside', device: 'phone', scheme: 'dark' },
  'terminal.png': { of: 'terminal', state: 'failing', scheme: 'dark' },
};

/** Every state on every device, light and dark, to be looked at. */
function everyPicture(): Readonly<Record<string, Picture>> {
  const all = STATES.flatMap((state) =>
    (['light', 'dark'] as const).flatMap((scheme) => [
      { of: 'page', state, device: 'desktop', scheme } as const,
      { of: 'page', state, device: 'phone', scheme } as const,
      { of: 'terminal', state, scheme } as const,
    ]),
  );
  return Object.fromEntries(all.map((each) => [`${Object.values(each).join('-')}.png`, each]));
}

/** What a person sees without scrolling far; the files stay small. */
const TALLEST = 900;

async function takeAll(
  pictures: Readonly<Record<string, Picture>>,
  folder: string,
  tallest = TALLEST,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  let report: Status | undefined;
  const server = createAgentServer({
    metrics: async () => ({ body: '', type: 'text/plain' }),
    report: () => report,
    live: () => true,
    unready: () => undefined,
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  const browser = await launchChromium();
  for (const [name, picture] of Object.entries(pictures)) {
    report = SAMPLES[picture.state];
    const path = join(folder, name);
    await take(browser, picture, { url: `http://127.0.0.1:${address.port}/`, path, tallest });
    process.stdout.write(`${path}\n`);
  }
  await browser.close();
  server.close();
}

async function take(
  browser: Browser,
  picture: Picture,
  { url, path, tallest }: { readonly url: string; readonly path: string; readonly tallest: number },
): Promise<void> {
  const width = picture.of === 'page' ? WIDTHS[picture.device] : 760;
  const context = await browser.newContext({ viewport: { width, height: 400 }, colorScheme: picture.scheme });
  const page = await context.newPage();
  const seenMs = Date.parse(SAMPLES[picture.state].evaluation.at);
  await page.clock.install({ time: new Date(seenMs + 240_000) });
  if (picture.of === 'page') await page.goto(url);
  else
    await page.setContent(
      terminalOf(renderReport(SAMPLES[picture.state], { colored: true, width: 80 }), picture.scheme),
    );
  const height = await page.evaluate('document.documentElement.scrollHeight');
  const clip = { x: 0, y: 0, width, height: Math.min(Number(height), tallest) };
  await page.screenshot({ path, fullPage: true, clip });
  await context.close();
}

const PAINTS: Readonly<Record<string, string>> = { 1: 'b', 2: 'dim', 31: 'red', 32: 'green', 33: 'yellow' };

/** What a terminal makes of a text with colours. */
function terminalOf(text: string, scheme: Scheme): string {
  const open: string[] = [];
  const markup = text
    .replace(/[&<>]/g, (character) => ({ '&': '&amp;', '<': '&lt;' })[character] ?? '&gt;')
    .split('\u001b[')
    .map((part, index) => {
      if (index === 0) return part;
      const [, code = '', rest = ''] = /^(\d+)m([\s\S]*)$/.exec(part) ?? [];
      const paint = PAINTS[code];
      if (paint === undefined) return `${open.pop() === undefined ? '' : '</span>'}${rest}`;
      open.push(paint);
      return `<span class="${paint}">${rest}`;
    })
    .join('');
  const [paper, ink, red, green, yellow] =
    scheme === 'dark'
      ? ['#171a1d', '#d8d8d4', '#f08a80', '#7fcda3', '#e4bf70']
      : ['#ffffff', '#24292e', '#b3261e', '#1a6b43', '#7a5600'];
  return `<style>body{margin:0;padding:14px 18px;background:${paper};color:${ink}}pre{margin:0;font:14px/1.45 "DejaVu Sans Mono",monospace}
.b{font-weight:700}.dim{opacity:.65}.red{color:${red}}.green{color:${green}}.yellow{color:${yellow}}</style><pre>${stripVTControlCharacters(markup)}</pre>`;
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  await (folder === undefined
    ? takeAll(PICTURES, join(REPO, 'docs/images'))
    : takeAll(everyPicture(), folder, Number.POSITIVE_INFINITY));
}
