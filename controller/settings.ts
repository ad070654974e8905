import { type Env, SettingsReader } from '../lib/base/settings.ts';
import FLEET_SETTINGS from './settings.json' with { type: 'json' };

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
    guardsFromFiles: settings.isOn('GUARDS_FROM_FILES'),
    egressNamespace: settings.optional(
      'EGRESS_NAMESPACE',
      /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
      'the name of a namespace',
    ),
    listen: settings.address('LISTEN_ADDRESS'),
    logLevel: settings.logLevel('LOG_LEVEL'),
    kubeconfig: settings.text('KUBECONFIG'),
  };
  return { config, problems: settings.problems };
}
