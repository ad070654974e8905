import type { Alert, Prometheus } from '../../cluster/control-plane/prometheus.ts';
import { waitFor } from '../../hack/run.ts';

/** Longer than a scrape interval. */
const GONE_MS = 3_000;

/** Waits for alerts and queries of a Prometheus. */
export function watchAlerts(prometheus: () => Prometheus) {
  /** The firing alert of this name, on a node if given. */
  const find = (alert: string, on?: string) => prometheus().find(alert, on);

  const fires = (alert: string, on?: string): Promise<Alert> =>
    waitFor(`${alert} to fire`, 120_000, () => find(alert, on), 250);

  /** Waits until it has not fired for {@link GONE_MS}, because a missed scrape also ends an alert. */
  const resolves = (alert: string, on?: string): Promise<true> => {
    let goneMs = Number.NaN;
    const gone = async () => {
      if ((await find(alert, on)) !== undefined) goneMs = Number.NaN;
      else if (Number.isNaN(goneMs)) goneMs = Date.now();
      return Date.now() - goneMs >= GONE_MS ? (true as const) : undefined;
    };
    return waitFor(`${alert} to resolve`, 120_000, gone, 250);
  };

  const queried = (query: string): Promise<true> =>
    waitFor(
      `Prometheus to return series for ${query}`,
      30_000,
      async () => (await prometheus().query(query)).length > 0,
    );

  return { find, fires, resolves, queried };
}
