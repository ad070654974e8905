import type { Alert, Prometheus } from '../../cluster/control-plane/prometheus.ts';
import { waitFor } from '../../hack/run.ts';

/** Longer than from one scrape to the next. */
const GONE_MS = 3_000;

/** Ways to wait for what a Prometheus says, which is asked for once it is needed. */
export function watchAlerts(prometheus: () => Prometheus) {
  /** The alert that fires now, on this node if one is given. */
  const find = (alert: string, on?: string) => prometheus().find(alert, on);

  /** Waits until it fires. */
  const fires = (alert: string, on?: string): Promise<Alert> =>
    waitFor(`${alert} to fire`, 120_000, () => find(alert, on), 250);

  /** Waits until it has not fired for a while: one scrape that is missed takes an alert away as well. */
  const resolves = (alert: string, on?: string): Promise<true> => {
    let goneMs = Number.NaN;
    const gone = async () => {
      if ((await find(alert, on)) !== undefined) goneMs = Number.NaN;
      else if (Number.isNaN(goneMs)) goneMs = Date.now();
      return Date.now() - goneMs >= GONE_MS ? (true as const) : undefined;
    };
    return waitFor(`${alert} to resolve`, 120_000, gone, 250);
  };

  /** Waits until a query gives something. */
  const queried = (query: string): Promise<true> =>
    waitFor(`Prometheus to give something for ${query}`, 30_000, async () =>
      (await prometheus().query(query)).length > 0 ? true : undefined,
    );

  return { find, fires, resolves, queried };
}
