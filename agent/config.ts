/** An environment: names of settings and their values. */
export type Env = Readonly<Record<string, string | undefined>>;

/** Reads settings from an environment, and collects every problem in it, one line each. */
export class SettingsReader<Name extends string> {
  readonly problems: string[] = [];
  readonly #env: Env;
  readonly #settings: Readonly<Record<Name, Setting>>;

  constructor(env: Env, settings: Readonly<Record<Name, Setting>>) {
    this.#env = env;
    this.#settings = settings;
  }

  /** What is set, without blanks around it; undefined where nothing is. */
  text(name: Name): string | undefined {
    return this.#env[name]?.trim() || undefined;
  }

  /** A value, or what holds without one; `wanted` says for people what the pattern asks for. */
  matching(name: Name, pattern: RegExp, wanted: string, fallback = this.#settings[name].fallback): string {
    const value = this.text(name) ?? fallback;
    if (!pattern.test(value)) this.problems.push(`${name}="${value}" is not ${wanted}`);
    return value;
  }

  /** A setting that is on or off. */
  isOn(name: Name): boolean {
    return this.matching(name, /^(on|off)$/, 'on or off') === 'on';
  }

  /** A duration within the setting's bounds, in milliseconds. */
  duration(name: Name): number {
    const { fallback, bounds = [0, Number.POSITIVE_INFINITY] } = this.#settings[name];
    const value = this.text(name) ?? fallback;
    const ms = parseDuration(value);
    if (ms === undefined)
      this.problems.push(`${name}="${value}" is not a duration such as 500ms, 30s, 10m or 1h`);
    else if (ms < bounds[0] || ms > bounds[1])
      this.problems.push(`${name}="${value}" is not between ${bounds[0] / 1000} s and ${bounds[1] / 1000} s`);
    return ms ?? 0;
  }

  /** A level of the log. */
  logLevel(name: Name): string {
    const levels = /^(trace|debug|info|warn|error|silent)$/;
    return this.matching(name, levels, 'trace, debug, info, warn, error or silent');
  }
}

/** Milliseconds of "500ms", "30s", "10m" or "1h"; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const factor = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit ?? ''];
  return number === undefined || factor === undefined ? undefined : Number(number) * factor;
}

/** The lines of --help on settings: the name in a column of that width, the meaning, and the default. */
export function settingLines(settings: Readonly<Record<string, Setting>>, width: number): string {
  return Object.entries(settings)
    .map(([name, { fallback, meaning }]) => `  ${name.padEnd(width)} ${meaning} (${fallback})`)
    .join('\n');
}

/** One setting: its default (as written in the environment) and what it means, for docs/reference.md and --help. */
export type Setting = {
  readonly fallback: string;
  readonly meaning: string;
  readonly bounds?: readonly [number, number];
};

/** Every setting, read from the environment. Durations are a number with ms, s, m or h. */
export const SETTINGS = {
  NODE_NAME: { fallback: "the host's name", meaning: 'Name of the Node object that this agent speaks for.' },
  POD_UID: {
    fallback: 'none',
    meaning:
      "UID of the agent's own pod, from the downward API: only a containerd that runs this pod is the kubelet's. Required in a cluster.",
  },
  HOST_ROOT: {
    fallback: '/',
    meaning: "Where the host's root file system is visible; `/host` in the DaemonSet.",
  },
  CRI_SOCKET: { fallback: 'by distribution', meaning: "containerd's socket, as a path of the host." },
  CONTAINERD_CONFIG: {
    fallback: 'by distribution',
    meaning: "containerd's configuration, as a path of the host.",
  },
  HANDLER: { fallback: 'runsc', meaning: 'The CRI runtime handler to prove.' },
  PROOF_INTERVAL: {
    fallback: '10m',
    meaning: 'Time between proofs when nothing changes, ±10 %.',
    bounds: [10_000, 86_400_000],
  },
  CONFIRM_DELAY: {
    fallback: '500ms',
    meaning: 'Time between a failure and the look that confirms it.',
    bounds: [0, 60_000],
  },
  UNKNOWN_GRACE: {
    fallback: '60s',
    meaning: 'How long a node that cannot be judged keeps its label.',
    bounds: [0, 3_600_000],
  },
  MIN_RUNSC_RELEASE: {
    fallback: 'no floor',
    meaning: 'Oldest gVisor release allowed, such as `20240325.0`.',
  },
  REQUIRE_LIMITS: {
    fallback: 'off',
    meaning:
      "`on` makes a node not ready where sandboxes are outside the kubelet's cgroups, so that limits are not enforced.",
  },
  FORBID_FLAG_OVERRIDE: {
    fallback: 'off',
    meaning:
      '`on` makes a node not ready where `pod_annotations` of the handler lets pods set flags of runsc that weaken their sandbox.',
  },
  EXPECT_GVISOR: {
    fallback: 'off',
    meaning:
      '`on` makes alerts expect gVisor on every node with an agent; `off` only where it was once proven, or where a part of it is installed.',
  },
  LISTEN_ADDRESS: { fallback: ':9477', meaning: 'Address and port of the HTTP server; `off` for none.' },
  LOG_LEVEL: { fallback: 'info', meaning: '`trace`, `debug`, `info`, `warn`, `error` or `silent`.' },
  PUBLISH: {
    fallback: '`node,events` in a cluster, nothing on one host',
    meaning: 'Where verdicts go besides HTTP: `node`, `node,events`, or empty for nowhere.',
  },
  TAINT: {
    fallback: 'off',
    meaning: '`on` keeps the taint `not-ready` (NoSchedule) on nodes that are not proven.',
  },
} as const satisfies Record<string, Setting>;

/** The settings, parsed. Durations are milliseconds. */
export type Config = Readonly<ReturnType<typeof parseConfig>['config']>;

/** Where a verdict can be written in the API; events go with the Node's condition. */
const DESTINATIONS = ['node', 'events'] as const;

/** Facts that the environment does not contain. */
export type Environment = {
  readonly hostname: string;
  /** Whether a service account is mounted. */
  readonly inCluster: boolean;
};

/** The settings of an environment, and every problem in it, one line each: with one the settings count for nothing. */
export function parseConfig(env: Env, { hostname, inCluster }: Environment) {
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
