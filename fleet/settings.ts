import type { Setting } from '../agent/config.ts';
import { type Env, SettingsReader } from '../agent/config.ts';
import type { Timeouts } from './decide.ts';

/** Every setting of the controller, read from the environment. Durations are a number with ms, s, m or h. */
export const FLEET_SETTINGS = {
  AGENT_GONE: {
    fallback: '90s',
    meaning: 'How long no agent on a node was Ready before its label is withdrawn.',
    bounds: [10_000, 3_600_000],
  },
  NODE_AGE: {
    fallback: '5m',
    meaning: 'How old a Node must be before its label is withdrawn.',
    bounds: [0, 86_400_000],
  },
  BRAKE_WINDOW: {
    fallback: '10m',
    meaning: 'The time within which withdrawals count together for the brake.',
    bounds: [10_000, 86_400_000],
  },
  SETTLE: {
    fallback: '3m',
    meaning: 'How long nothing is withdrawn after an outage of the API server, or a rollout of the agents.',
    bounds: [0, 3_600_000],
  },
  TAINT: {
    fallback: 'off',
    meaning: '`on` puts the taint `not-ready` (NoSchedule) on labelled nodes that are not Ready.',
  },
  REPORT_INTERVAL: {
    fallback: '5m',
    meaning: 'How often each agent is asked when it last proved its node.',
    bounds: [5_000, 86_400_000],
  },
  PORT: { fallback: '9478', meaning: 'Port of the page and the metrics.' },
  LOG_LEVEL: { fallback: 'info', meaning: '`trace`, `debug`, `info`, `warn`, `error` or `silent`.' },
  KUBECONFIG: {
    fallback: "the pod's service account",
    meaning: 'kubeconfig of the cluster to look after, from outside the cluster.',
  },
} as const satisfies Record<string, Setting>;

/** The settings, parsed; durations are milliseconds. */
export type FleetConfig = {
  readonly patience: Timeouts;
  readonly reportIntervalMs: number;
  /** Whether labelled nodes that are not Ready are tainted. */
  readonly taint: boolean;
  readonly port: number;
  readonly logLevel: string;
  readonly kubeconfig?: string;
};

/** The share of the labelled nodes that may lose the label within the brake's window. */
const SHARE = 0.2;

/** The settings of an environment, or every problem in it, one line each. */
export function parseFleetConfig(
  env: Env,
): { readonly config: FleetConfig } | { readonly problems: readonly string[] } {
  const settings = new SettingsReader(env, FLEET_SETTINGS);
  const kubeconfig = settings.text('KUBECONFIG');
  const config: FleetConfig = {
    patience: {
      goneMs: settings.duration('AGENT_GONE'),
      nodeAgeMs: settings.duration('NODE_AGE'),
      windowMs: settings.duration('BRAKE_WINDOW'),
      settleMs: settings.duration('SETTLE'),
      share: SHARE,
    },
    reportIntervalMs: settings.duration('REPORT_INTERVAL'),
    taint: settings.isOn('TAINT'),
    port: Number(settings.matching('PORT', /^\d{1,5}$/, 'the number of a port')),
    logLevel: settings.logLevel('LOG_LEVEL'),
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
  };
  const { problems } = settings;
  return problems.length > 0 ? { problems } : { config };
}
