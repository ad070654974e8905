import { HANDLER_LIST, splitHandlers } from '../../lib/base/handler-name.ts';
import { type Env, SettingsReader } from '../../lib/base/settings.ts';
import SETTINGS from '../../lib/fleet/agent-settings.json' with { type: 'json' };

/** Durations are milliseconds. */
export type Config = Readonly<ReturnType<typeof parseConfig>['config']>;

const RELEASE = /^(release-)?\d{8}(\.\d+)?$/;
const DESTINATIONS = ['node', 'events'] as const;

/** `problems` lists everything wrong, one line each; the config is usable only if it is empty. */
export function parseConfig(env: Env, { hostname, inCluster }: { hostname: string; inCluster: boolean }) {
  const settings = new SettingsReader(env, SETTINGS);
  const { problems } = settings;
  const destinations = (env.PUBLISH ?? (inCluster ? 'node,events' : '')).trim();
  const isKnown = /^(node( *, *events)?)?$/.test(destinations);
  if (!isKnown) problems.push(`PUBLISH="${destinations}" is not node, or node,events, or empty`);
  const publish = DESTINATIONS.filter((destination) => isKnown && destinations.includes(destination));
  const { KUBERNETES_SERVICE_HOST: apiHost, KUBERNETES_SERVICE_PORT: apiPort = '443' } = env;
  const apiServer = inCluster && apiHost !== undefined ? { host: apiHost, port: apiPort } : undefined;
  if (publish.length > 0 && apiServer === undefined)
    problems.push(`PUBLISH="${publish.join(',')}" needs a cluster: run in a pod that has a service account`);
  const podUid = settings.optional('POD_UID', /^[0-9a-f-]{32,36}$/, 'the UID of a pod');
  if (publish.length > 0 && podUid === undefined)
    problems.push('POD_UID is not set: the DaemonSet must pass metadata.uid, as manifests/base does');
  const minRelease = settings.optional('MIN_RUNSC_RELEASE', RELEASE, 'a gVisor release such as 20240325.0');
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
    evidence: settings.isOn('EVIDENCE'),
    /** Absent outside a cluster. */
    apiServer,
    criSocket: settings.optional('CRI_SOCKET', /^(unix:\/\/)?\//, 'an absolute path')?.replace('unix://', ''),
    containerdConfig: settings.optional('CONTAINERD_CONFIG', /^\//, 'an absolute path'),
    minRunscRelease: minRelease?.replace('release-', ''),
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
  if (new Set([handler, ...additionalHandlers]).size <= additionalHandlers.length)
    settings.problems.push(`HANDLERS="${value}" names one twice`);
  if (additionalHandlers.some((each) => each.length > MAX_ADDITIONAL_LENGTH))
    settings.problems.push(
      `HANDLERS="${value}": an additional one has more than ${MAX_ADDITIONAL_LENGTH} characters`,
    );
  if (additionalHandlers.length > MAX_ADDITIONAL)
    settings.problems.push(`HANDLERS="${value}" names more than ${MAX_ADDITIONAL + 1} handlers`);
  return { handler, additionalHandlers };
}
