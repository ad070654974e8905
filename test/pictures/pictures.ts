import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { createFleetServer } from '../../controller/server.ts';
import { REPO } from '../../hack/paths.ts';
import type { Status } from '../../lib/report/report.ts';
import { SAMPLES } from '../agent/text/sample-status.ts';
import { launchChromium } from '../chromium.ts';
import { burningFleet, mixedFleet, SINCE } from '../lib/fleet/sample-fleet.ts';

const FLEETS = { mixed: mixedFleet, burning: burningFleet } as const;
/** The page of a node in a recorded state, or that of a sample fleet. */
type State = keyof typeof SAMPLES | keyof typeof FLEETS;
type Scheme = 'light' | 'dark';
const isFleet = (state: State): state is keyof typeof FLEETS => Object.hasOwn(FLEETS, state);
const STATES = [...Object.keys(SAMPLES), ...Object.keys(FLEETS)] as State[];
const WIDTHS = { desktop: 1100, phone: 390 } as const;
type Picture = {
  readonly state: State;
  readonly device: keyof typeof WIDTHS;
  readonly scheme: Scheme;
};

/** Screenshots in docs/images by file name, from recorded reports of real agents (test/pictures/record-reports.ts). */
export const PICTURES: Readonly<Record<string, Picture>> = {
  'fleet-desktop.png': { state: 'mixed', device: 'desktop', scheme: 'light' },
  'page-desktop.png': { state: 'failing', device: 'desktop', scheme: 'light' },
};

/** Every state on every device, light and dark, for review by eye. */
function everyPicture(): Readonly<Record<string, Picture>> {
  const all = STATES.flatMap((state) =>
    (['light', 'dark'] as const).flatMap((scheme) => [
      { state, device: 'desktop', scheme } as const,
      { state, device: 'phone', scheme } as const,
    ]),
  );
  return Object.fromEntries(all.map((each) => [`${Object.values(each).join('-')}.png`, each]));
}

/** Maximum height of a screenshot in pixels, to keep the files small. */
const MAX_HEIGHT = 900;

async function takeAll(
  pictures: Readonly<Record<string, Picture>>,
  directory: string,
  maxHeight = MAX_HEIGHT,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  let report: Status | undefined;
  let view = mixedFleet();
  const server = createFleetServer({
    view: () => view,
    metrics: async () => ({ body: '', type: 'text/plain' }),
    live: () => true,
    ready: () => true,
    report: async () => report,
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  const browser = await launchChromium();
  for (const [name, picture] of Object.entries(pictures)) {
    if (isFleet(picture.state)) view = FLEETS[picture.state]();
    else report = SAMPLES[picture.state];
    const path = join(directory, name);
    await take(browser, picture, { url: `http://127.0.0.1:${address.port}/`, path, maxHeight });
    process.stdout.write(`${path}\n`);
  }
  await browser.close();
  server.close();
}

async function take(
  browser: Browser,
  picture: Picture,
  { url, path, maxHeight }: { readonly url: string; readonly path: string; readonly maxHeight: number },
): Promise<void> {
  const width = WIDTHS[picture.device];
  const context = await browser.newContext({ viewport: { width, height: 400 }, colorScheme: picture.scheme });
  const page = await context.newPage();
  const { state } = picture;
  const recordedAt = isFleet(state) ? SINCE : SAMPLES[state].evaluation.at;
  await page.clock.install({ time: new Date(Date.parse(recordedAt) + 240_000) });
  await page.goto(isFleet(state) ? url : `${url}nodes/node-1/`);
  if (isFleet(state)) await page.locator('#groups details').first().waitFor();
  const height = await page.evaluate('document.documentElement.scrollHeight');
  const clip = { x: 0, y: 0, width, height: Math.min(Number(height), maxHeight) };
  await page.screenshot({ path, fullPage: true, clip });
  await context.close();
}

if (import.meta.main) {
  const [directory] = process.argv.slice(2);
  await (directory === undefined
    ? takeAll(PICTURES, join(REPO, 'docs/images'))
    : takeAll(everyPicture(), directory, Number.POSITIVE_INFINITY));
}
