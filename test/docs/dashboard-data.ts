import { join } from 'node:path';
import type { SampleSeries } from '../../cluster/control-plane/prometheus.ts';
import { REPO } from '../../hack/paths.ts';

/** What a real Prometheus answered to the dashboard's queries, by their expressions: `end` in Unix time, and the range before it. */
export type DashboardData = {
  readonly end: number;
  readonly seconds: number;
  readonly answers: Readonly<Record<string, readonly SampleSeries[]>>;
};

/** The file that test/docs/record-dashboard.ts writes. */
export const DASHBOARD_DATA = join(REPO, 'test/fixtures/dashboard.json');
