import { type Env, SettingsReader } from './read-settings.ts';
import { SETTINGS } from './settings.ts';

/** The settings, parsed. Durations are milliseconds. */
export type Config = {
  readonly nodeName: string;
  readonly hostRoot: string;
  readonly criSocket: string | undefined;
  readonly containerdConfig: string | undefined;
  readonly handler: string;
  readonly proofIntervalMs: number;
  readonly confirmMs: number;
  readonly graceMs: number;
  readonly minRunscRelease: string | undefined;
  readonly requireLimits: boolean;
  readonly expectGvisor: boolean;
  /** Absent where it is off. */
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  readonly logLevel: string;
  readonly publish: readonly Destination[];
  readonly taint: boolean;
  /** The API server of the cluster that the agent runs in. */
  readonly apiServer: { readonly host: string; readonly port: string } | undefined;
};

/** Where a verdict can be written in the API; events go with the Node's condition. */
export type Destination = (typeof DESTINATIONS)[number];
const DESTINATIONS = ['node', 'events'] as const;

/** Facts that the environment does not contain. */
export type Surroundings = {
  readonly hostname: string;
  /** Whether a service account is mounted. */
  readonly inCluster: boolean;
};

/** The settings of an environment, or every problem in it, one line each. */
export type Parsed = { readonly config: Config } | { readonly problems: readonly string[] };

/** Reads the environment. */
export function parseConfig(env: Env, { hostname, inCluster }: Surroundings): Parsed {
  const settings = new SettingsReader(env, SETTINGS);
  const { problems } = settings;
  const optionalPath = (name: keyof typeof SETTINGS) => {
    const value = settings.text(name)?.replace(/^unix:\/\//, '');
    if (value !== undefined && !value.startsWith('/'))
      problems.push(`${name}="${value}" is not an absolute path`);
    return value;
  };
  const listen = parseListen(settings.text('LISTEN_ADDRESS') ?? SETTINGS.LISTEN_ADDRESS.fallback);
  if (listen === undefined)
    problems.push(`LISTEN_ADDRESS="${env.LISTEN_ADDRESS}" is not [address]:port or off`);
  const publish = (env.PUBLISH ?? (inCluster ? 'node,events' : '')).split(',').flatMap((part) => {
    const word = part.trim();
    const known = DESTINATIONS.find((destination) => destination === word);
    if (known === undefined && word !== '')
      problems.push(`PUBLISH="${word}" is not known: use node, or node,events, or leave it empty`);
    return known ?? [];
  });
  if (publish.includes('events') && !publish.includes('node'))
    problems.push('PUBLISH="events" needs node as well: an event tells of a change of the Node\'s condition');
  const { KUBERNETES_SERVICE_HOST: apiHost, KUBERNETES_SERVICE_PORT: apiPort = '443' } = env;
  const apiServer = inCluster && apiHost !== undefined ? { host: apiHost, port: apiPort } : undefined;
  if (publish.length > 0 && apiServer === undefined)
    problems.push(`PUBLISH="${publish.join(',')}" needs a cluster: run in a pod that has a service account`);
  const minRunscRelease = settings.text('MIN_RUNSC_RELEASE')?.replace(/^release-/, '');
  if (minRunscRelease !== undefined && !/^\d{8}(\.\d+)?$/.test(minRunscRelease)) {
    problems.push(`MIN_RUNSC_RELEASE="${minRunscRelease}" is not a gVisor release such as 20240325.0`);
  }
  const config: Config = {
    nodeName: settings.matching(
      'NODE_NAME',
      /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
      'the name of a node',
      hostname.toLowerCase(),
    ),
    hostRoot: settings.matching('HOST_ROOT', /^\//, 'an absolute path'),
    handler: settings.matching('HANDLER', /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'the name of a handler'),
    proofIntervalMs: settings.duration('PROOF_INTERVAL'),
    confirmMs: settings.duration('CONFIRM_DELAY'),
    graceMs: settings.duration('UNKNOWN_GRACE'),
    logLevel: settings.logLevel('LOG_LEVEL'),
    publish,
    requireLimits: settings.isOn('REQUIRE_LIMITS'),
    expectGvisor: settings.isOn('EXPECT_GVISOR'),
    taint: settings.isOn('TAINT'),
    apiServer,
    criSocket: optionalPath('CRI_SOCKET'),
    containerdConfig: optionalPath('CONTAINERD_CONFIG'),
    minRunscRelease,
    listen: listen === 'off' ? undefined : listen,
  };
  return problems.length > 0 ? { problems } : { config };
}

function parseListen(text: string): Config['listen'] | 'off' {
  if (text === 'off') return 'off';
  const [, host = '', port] = /^(\[[^[\]\s]+\]|[^[\]\s]*):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
