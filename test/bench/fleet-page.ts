import { launchChromium } from '../chromium.ts';

const TIMES = `(() => {
  const times = {};
  const time = (what, act) => {
    const begun = performance.now();
    act();
    document.body.offsetHeight;
    times[what] = performance.now() - begun;
  };
  const name = document.getElementById('by-name');
  const type = (value) => { name.value = value; name.dispatchEvent(new Event('input')); };
  time('filter by name', () => type('-49'));
  time('filter taken off', () => type(''));
  time('every group unfolded', () => type('-'));
  const more = [...document.querySelectorAll('#groups button')].find(({ hidden }) => !hidden);
  if (more) time('200 rows more', () => more.click());
  return times;
})()`;

/** Times of Chromium to load and filter the page of the fleet. */
export async function measurePage(origin: string): Promise<string[][]> {
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    const begun = performance.now();
    await page.goto(`${origin}/`);
    await page.locator('#groups details').first().waitFor();
    const loadMs = performance.now() - begun;
    const times = (await page.evaluate(TIMES)) as Record<string, number>;
    const rows = Object.entries({ 'page shown': loadMs, ...times });
    return rows.map(([what, ms]) => [`Chromium: ${what}`, '', `${Math.round(ms)} ms`]);
  } finally {
    await browser.close();
  }
}
