import type { Page } from 'playwright-core';

const LOW_CONTRAST = `(() => {
  const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  let texts = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('script')) continue;
    texts += 1;
    const pair = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) low.push(ratio.toFixed(2) + ' ' + walker.currentNode.data.trim());
  }
  return { low, texts };
})()`;

/** Texts with a contrast under 4.5:1, and the count of all texts; colours must be opaque. */
export async function readContrast(page: Page): Promise<{ readonly low: string[]; readonly texts: number }> {
  return (await page.evaluate(LOW_CONTRAST)) as { low: string[]; texts: number };
}

export async function openAll(page: Page): Promise<void> {
  await page.evaluate(`document.querySelectorAll('details').forEach((details) => { details.open = true; })`);
}

const FOCUS = `(() => {
  const { id, tagName, pathname } = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return { name: id || pathname || tagName, outline: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth) };
})()`;

/** The focused element, by its id or link, and the width of its outline in pixels. */
export async function readFocus(page: Page): Promise<{ readonly name: string; readonly outline: number }> {
  return (await page.evaluate(FOCUS)) as { name: string; outline: number };
}
