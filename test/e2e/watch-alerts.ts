import type { Alert, Prometheus } from '../../cluster/control-plane/prometheus.ts';
import { waitFor } from '../../hack/run.ts';

/** Ways to wait for what a Prometheus says, which is asked for once it is needed. */
export function watchAlerts(prometheus: () => Prometheus) {
  /** The alert that fires now, on this node if one is given. */
  const find = (alert: string, on?: string) => prometheus().find(alert, on);

  /** Waits until it fires. */
  const fires = (alert: string, on?: string): Promise<Alert> =>
    waitFor(`${alert} to fire`, 120_000, () => find(alert, on), 250);

  /** Waits until it does not any more. */
  const resolves = (alert: string, on?: string): Promise<true> => {
    const gone = async () => ((await find(alert, on)) === undefined ? true : undefined);
    return waitFor(`${alert} to resolve`, 120_000, gone, 250);
  };

  /** Waits until a query gives something. */
  const queried = (query: string): Promise<true> =>
    waitFor(`Prometheus to give something for ${query}`, 30_000, async () =>
      (await prometheus().query(query)).length > 0 ? true : undefined,
    );

  return { find, fires, resolves, queried };
}
