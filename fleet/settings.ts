import { parseDuration } from '../agent/config.ts';
import type { Setting } from '../agent/settings.ts';
import type { Patience } from './seen.ts';

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
    meaning: 'Within which time withdrawals count together for the brake.',
    bounds: [10_000, 86_400_000],
  },
  SETTLE: {
    fallback: '3m',
    meaning: 'How long nothing is withdrawn after an outage of the API server, or a rollout of the agents.',
    bounds: [0, 3_600_000],
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
    meaning: 'kubeconfig of the cluster to look after, from outside of it.',
  },
} as const satisfies Record<string, Setting>;

/** The settings, parsed; durations are milliseconds. */
export type FleetConfig = {
  readonly patience: Patience;
  readonly reportIntervalMs: number;
  readonly port: number;
  readonly logLevel: string;
  readonly kubeconfig?: string;
};

/** The share of the labelled nodes that may lose the label within the brake's window. */
const SHARE = 0.2;

type Env = Readonly<Record<string, string | undefined>>;
type Duration = 'AGENT_GONE' | 'NODE_AGE' | 'BRAKE_WINDOW' | 'SETTLE' | 'REPORT_INTERVAL';

/** The settings of an environment, or every problem in it, one line each. */
export function parseFleetConfig(
  env: Env,
): { readonly config: FleetConfig } | { readonly problems: readonly string[] } {
  const problems: string[] = [];
  const text = (name: keyof typeof FLEET_SETTINGS) => env[name]?.trim() || undefined;
  const matching = (name: 'PORT' | 'LOG_LEVEL', pattern: RegExp, wanted: string) => {
    const value = text(name) ?? FLEET_SETTINGS[name].fallback;
    if (!pattern.test(value)) problems.push(`${name}="${value}" is not ${wanted}`);
    return value;
  };
  const duration = (name: Duration) => {
    const { fallback, bounds } = FLEET_SETTINGS[name];
    const value = text(name) ?? fallback;
    const ms = parseDuration(value);
    if (ms === undefined) problems.push(`${name}="${value}" is not a duration such as 500ms, 30s, 10m or 1h`);
    else if (ms < bounds[0] || ms > bounds[1])
      problems.push(`${name}="${value}" is not between ${bounds[0] / 1000} s and ${bounds[1] / 1000} s`);
    return ms ?? 0;
  };
  const kubeconfig = text('KUBECONFIG');
  const levels = /^(trace|debug|info|warn|error|silent)$/;
  const config: FleetConfig = {
    patience: {
      goneMs: duration('AGENT_GONE'),
      nodeAgeMs: duration('NODE_AGE'),
      windowMs: duration('BRAKE_WINDOW'),
      settleMs: duration('SETTLE'),
      share: SHARE,
    },
    reportIntervalMs: duration('REPORT_INTERVAL'),
    port: Number(matching('PORT', /^\d{1,5}$/, 'the number of a port')),
    logLevel: matching('LOG_LEVEL', levels, 'trace, debug, info, warn, error or silent'),
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
  };
  return problems.length > 0 ? { problems } : { config };
}
