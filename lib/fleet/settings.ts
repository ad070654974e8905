import { type Env, type Setting, SettingsReader } from '../base/settings.ts';

/** The controller's settings from the environment. Durations are a number with ms, s, m or h. */
export const FLEET_SETTINGS = {
  AGENT_TIMEOUT: {
    fallback: '90s',
    meaning: 'How long no agent on a node was Ready before its label is withdrawn.',
    bounds: [10_000, 3_600_000],
  },
  NODE_AGE: {
    fallback: '5m',
    meaning: 'How old a Node must be before its label is withdrawn.',
    bounds: [0, 86_400_000],
  },
  CIRCUIT_BREAKER_WINDOW: {
    fallback: '10m',
    meaning: 'The time within which withdrawals count together for the circuit breaker.',
    bounds: [10_000, 86_400_000],
  },
  RECOVERY_DELAY: {
    fallback: '3m',
    meaning:
      'How long nothing is withdrawn after an outage of the API server, and how long a rollout counts after its end.',
    bounds: [0, 3_600_000],
  },
  TAINT: {
    fallback: 'off',
    meaning:
      '`on` puts the taint `not-ready` (NoSchedule) on labelled nodes that are not Ready, and where a label is withdrawn.',
  },
  REPORT_INTERVAL: {
    fallback: '15s',
    meaning: 'How often the report of each agent is read.',
    bounds: [5_000, 30_000],
  },
  LISTEN_ADDRESS: { fallback: ':9478', meaning: 'Address and port of the page and the metrics.' },
  LOG_LEVEL: { fallback: 'info', meaning: '`trace`, `debug`, `info`, `warn`, `error` or `silent`.' },
  KUBECONFIG: {
    fallback: "the pod's service account",
    meaning: 'kubeconfig for running outside the cluster.',
  },
} as const satisfies Record<string, Setting>;

export type FleetConfig = Readonly<ReturnType<typeof parseFleetConfig>['config']>;
export type FleetTimeouts = Readonly<FleetConfig['timeouts']>;

/** `problems` has one line each; the config is usable only if it is empty. */
export function parseFleetConfig(env: Env) {
  const settings = new SettingsReader(env, FLEET_SETTINGS);
  const config = {
    timeouts: {
      agentTimeoutMs: settings.duration('AGENT_TIMEOUT'),
      nodeAgeMs: settings.duration('NODE_AGE'),
      windowMs: settings.duration('CIRCUIT_BREAKER_WINDOW'),
      recoveryMs: settings.duration('RECOVERY_DELAY'),
    },
    reportIntervalMs: settings.duration('REPORT_INTERVAL'),
    taint: settings.isOn('TAINT'),
    listen: settings.address('LISTEN_ADDRESS'),
    logLevel: settings.logLevel('LOG_LEVEL'),
    kubeconfig: settings.text('KUBECONFIG'),
  };
  return { config, problems: settings.problems };
}
