import type { Metrics } from '../../../agent/http/metrics.ts';

/** The samples of a metric as "name{labels} value". */
export async function samplesOf(metrics: Metrics, name: string): Promise<readonly string[]> {
  const { body } = await metrics.text();
  return body.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}
