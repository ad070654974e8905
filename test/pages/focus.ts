import type { Page } from 'playwright-core';

const FOCUS = `(() => {
  const { id, tagName, pathname } = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
  return { name: id || pathname || tagName, outline: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth) };
})()`;

/** The focused element, by its id or link, and the width of its outline in pixels. */
export async function readFocus(page: Page): Promise<{ readonly name: string; readonly outline: number }> {
  return (await page.evaluate(FOCUS)) as { name: string; outline: number };
}
