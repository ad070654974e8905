import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { REPO } from '../../hack/paths.ts';
import {
  agent,
  always,
  type Changes,
  controller,
  DAEMON_SET,
  endingAt,
  failingAt,
  kube,
  nodeWithoutGvisor,
  type Series,
} from './fleet.ts';

/** A root cause with its series, and all alerts that fire because of it. */
export type Cause = {
  readonly cause: string;
  readonly series: Series;
  readonly fires: readonly string[];
  readonly withoutKube?: readonly string[];
};

/** A root cause in root-causes.yaml, which says what its fields are. */
type Written = Omit<Cause, 'series'> &
  Readonly<Partial<Record<'agents' | 'silent' | 'gone' | 'kube', Readonly<Record<string, Changes>>>>> & {
    readonly alone?: true;
    readonly healthy?: readonly string[];
    readonly removed?: readonly string[];
    readonly withoutGvisor?: readonly string[];
    readonly fleet?: Changes;
    readonly clusters?: readonly string[];
    readonly series?: Series;
  };

/** The labels of `node`, of `cluster node`, or as they are written. */
function labelsOf(place: string): string {
  if (place.includes('=')) return place;
  const [node, cluster] = place.split(' ').reverse();
  return `${cluster === undefined ? '' : `cluster="${cluster}", `}node="${node}"`;
}

const merged = (parts: readonly Series[]): Series => Object.assign({}, ...parts);
const each = (
  places: Readonly<Record<string, Changes>> = {},
  seriesOf: (labels: string, changes: Changes) => Series,
) => Object.entries(places).map(([place, changes]) => seriesOf(labelsOf(place), changes));
const healthy = (place: string): Series => ({ ...agent(labelsOf(place)), ...kube(labelsOf(place)) });

/** Two healthy nodes, and a control plane without gVisor. */
export const OTHERS = merged([
  healthy('node-2'),
  healthy('node-3'),
  nodeWithoutGvisor('node="control-plane"'),
  {
    [`kube_daemonset_status_desired_number_scheduled${DAEMON_SET}`]: always(4),
    [`kube_daemonset_status_current_number_scheduled${DAEMON_SET}`]: always(4),
  },
  controller(''),
]);

function causeOf(written: Written): Cause {
  const { agents, silent, gone, kube: nodes, fleet, clusters, series, alone, ...told } = written;
  const { healthy: well = [], removed = [], withoutGvisor = [], ...cause } = told;
  const controllers = clusters?.map((cluster) => controller(`cluster="${cluster}"`)) ?? [
    controller('', fleet),
  ];
  const parts = [
    alone ? {} : OTHERS,
    ...well.map(healthy),
    ...removed.map((place) => endingAt(5, healthy(place))),
    ...withoutGvisor.map((place) => nodeWithoutGvisor(labelsOf(place))),
    ...each(agents, agent),
    ...each(silent, (labels, changes) => failingAt(5, agent(labels, changes))),
    ...each(gone, (labels, changes) => endingAt(5, agent(labels, changes))),
    ...each(nodes, kube),
    ...controllers,
    series ?? {},
  ];
  return { ...cause, series: merged(parts) };
}

/** One root cause each. A cause fires at most one critical alert. */
export const CAUSES: readonly Cause[] = (
  parse(readFileSync(join(REPO, 'test/monitoring/root-causes.yaml'), 'utf8'), { merge: true }) as {
    readonly causes: readonly Written[];
  }
).causes.map(causeOf);

/** The series without those of kube-state-metrics. */
export function withoutKube(series: Series): Series {
  return Object.fromEntries(Object.entries(series).filter(([name]) => !name.startsWith('kube_')));
}
