import { type Env, SettingsReader } from '../lib/base/settings.ts';
import SETTINGS from '../lib/fleet/agent-settings.json' with { type: 'json' };
import { HANDLER_LIST, splitHandlers } from '../lib/node/handler-name.ts';

/** Durations are milliseconds. */
export type Config = Readonly<ReturnType<typeof parseConfig>['config']>;

const DESTINATIONS = ['node', 'events'] as const;

export type Environment = {
  readonly hostname: string;
  readonly inCluster: boolean;
};

/** `problems` lists everything wrong, one line each; the config is usable only if it is empty. */
export function parseConfig(env: Env, { hostname, inCluster }: Environment) {
  const settings = new SettingsReader(env, SETTINGS);
  const { problems } = settings;
  const optionalPath = (name: keyof typeof SETTINGS) => {
    const value = settings.text(name)?.replace(/^unix:\/\//, '');
    if (value !== undefined && !value.startsWith('/'))
      problems.push(`${name}="${value}" is not an absolute path`);
    return value;
  };
  const publish = (env.PUBLISH ?? (inCluster ? 'node,events' : '')).split(',').flatMap((part) => {
    const word = part.trim();
    const known = DESTINATIONS.find((destination) => destination === word);
    if (known === undefined && word !== '')
      problems.push(`PUBLISH="${word}" is not known: use node, or node,events, or leave it empty`);
    return known ?? [];
  });
  if (publish.includes('events') && !publish.includes('node'))
    problems.push('PUBLISH="events" needs node as well: an event reports a change of the Node\'s condition');
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
  const { handler, additionalHandlers } = readHandlers(settings);
  const config = {
    nodeName: settings.matching(
      'NODE_NAME',
      /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
      'the name of a node',
      hostname.toLowerCase(),
    ),
    hostRoot: settings.matching('HOST_ROOT', /^\//, 'an absolute path'),
    handler,
    additionalHandlers,
    proofIntervalMs: settings.duration('PROOF_INTERVAL'),
    confirmMs: settings.duration('CONFIRM_DELAY'),
    graceMs: settings.duration('UNKNOWN_GRACE'),
    logLevel: settings.logLevel('LOG_LEVEL'),
    publish,
    requireLimits: settings.isOn('REQUIRE_LIMITS'),
    forbidFlagOverride: settings.isOn('FORBID_FLAG_OVERRIDE'),
    expectGvisor: settings.isOn('EXPECT_GVISOR'),
    taint: settings.isOn('TAINT'),
    /** Absent outside a cluster. */
    apiServer,
    criSocket: optionalPath('CRI_SOCKET'),
    containerdConfig: optionalPath('CONTAINERD_CONFIG'),
    minRunscRelease,
    podUid,
    /** Absent if it is off. */
    listen:
      settings.text('LISTEN_ADDRESS') === 'off'
        ? undefined
        : settings.address('LISTEN_ADDRESS', '[address]:port or off'),
  };
  return { config, problems };
}

/** Each additional handler costs memory, metrics and a probe in every interval. */
const MAX_ADDITIONAL = 7;

/** The name must fit behind the prefixes of its keys on the Node, which may have 63 characters. */
const MAX_ADDITIONAL_LENGTH = 63 - 'proven-boot-'.length;

function readHandlers(settings: SettingsReader<keyof typeof SETTINGS>) {
  const value = settings.matching('HANDLERS', HANDLER_LIST, 'the name of a handler, or several with commas');
  const [handler, ...additionalHandlers] = splitHandlers(value);
  const repeated = additionalHandlers.find(
    (each, at) => [handler, ...additionalHandlers].indexOf(each) <= at,
  );
  if (repeated !== undefined) settings.problems.push(`HANDLERS="${value}" names "${repeated}" twice`);
  if (additionalHandlers.some((each) => each.length > MAX_ADDITIONAL_LENGTH))
    settings.problems.push(
      `HANDLERS="${value}": an additional one has more than ${MAX_ADDITIONAL_LENGTH} characters`,
    );
  if (additionalHandlers.length > MAX_ADDITIONAL)
    settings.problems.push(`HANDLERS="${value}" names more than ${MAX_ADDITIONAL + 1} handlers`);
  return { handler, additionalHandlers };
}
