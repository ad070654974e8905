import { type Env, SettingsReader } from './read-settings.ts';
import { SETTINGS } from './settings.ts';

/** The settings, parsed. Durations are milliseconds. */
export type Config = Readonly<ReturnType<typeof parseConfig>['config']>;

/** Where a verdict can be written in the API; events go with the Node's condition. */
const DESTINATIONS = ['node', 'events'] as const;

/** Facts that the environment does not contain. */
export type Surroundings = {
  readonly hostname: string;
  /** Whether a service account is mounted. */
  readonly inCluster: boolean;
};

/** The settings of an environment, and every problem in it, one line each: with one the settings count for nothing. */
export function parseConfig(env: Env, { hostname, inCluster }: Surroundings) {
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
  const podUid = settings.text('POD_UID');
  if (podUid !== undefined && !/^[0-9a-f-]{32,36}$/.test(podUid))
    problems.push(`POD_UID="${podUid}" is not the UID of a pod`);
  if (publish.length > 0 && podUid === undefined)
    problems.push('POD_UID is not set: the DaemonSet must pass metadata.uid, as manifests/base does');
  const minRunscRelease = settings.text('MIN_RUNSC_RELEASE')?.replace(/^release-/, '');
  if (minRunscRelease !== undefined && !/^\d{8}(\.\d+)?$/.test(minRunscRelease)) {
    problems.push(`MIN_RUNSC_RELEASE="${minRunscRelease}" is not a gVisor release such as 20240325.0`);
  }
  const config = {
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
    forbidFlagOverride: settings.isOn('FORBID_FLAG_OVERRIDE'),
    expectGvisor: settings.isOn('EXPECT_GVISOR'),
    taint: settings.isOn('TAINT'),
    /** The API server of the cluster that the agent runs in. */
    apiServer,
    criSocket: optionalPath('CRI_SOCKET'),
    containerdConfig: optionalPath('CONTAINERD_CONFIG'),
    minRunscRelease,
    podUid,
    /** Absent where it is off. */
    listen: listen === 'off' ? undefined : listen,
  };
  return { config, problems };
}

function parseListen(text: string): 'off' | { readonly host: string; readonly port: number } | undefined {
  if (text === 'off') return 'off';
  const [, host = '', port] = /^(\[[^[\]\s]+\]|[^[\]\s]*):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
