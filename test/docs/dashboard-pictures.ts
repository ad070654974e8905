import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { REPO } from '../../hack/paths.ts';
import { launchChromium } from '../chromium.ts';
import { type Panel, panels } from '../monitoring/dashboard.ts';
import { DASHBOARD_DATA, type DashboardData } from './dashboard-data.ts';
import { dashboardPage } from './dashboard-page.ts';

/** The pictures of the dashboard in docs/images, and the panels of each. */
export const DASHBOARD_PICTURES: Readonly<Record<string, (panel: Panel) => boolean>> = {
  'dashboard.png': ({ gridPos }) => gridPos.y < 36,
  'dashboard-more.png': ({ gridPos }) => gridPos.y >= 36,
};

/** What a real Prometheus answered (test/docs/record-dashboard.ts). */
export async function recordedData(): Promise<DashboardData> {
  return JSON.parse(await readFile(DASHBOARD_DATA, 'utf8')) as DashboardData;
}

if (import.meta.main) {
  const folder = process.argv[2] ?? join(REPO, 'docs/images');
  const data = await recordedData();
  const browser = await launchChromium();
  const page = await browser.newPage({ viewport: { width: 1200, height: 400 } });
  for (const [name, shows] of Object.entries(DASHBOARD_PICTURES)) {
    await page.setContent(await dashboardPage((await panels()).filter(shows), data));
    await page.screenshot({ path: join(folder, name), fullPage: true });
  }
  await browser.close();
}
