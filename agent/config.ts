/** One setting: its default (as written in the environment) and what it means, for the README and --help. */
export type Setting = {
  readonly fallback: string;
  readonly meaning: string;
  readonly bounds?: readonly [number, number];
};

/** Every setting, read from the environment. Durations are a number with ms, s, m or h. */
export const SETTINGS = {
  NODE_NAME: { fallback: 'the host’s name', meaning: 'Name of the Node object that this agent speaks for.' },
  HOST_ROOT: {
    fallback: '/',
    meaning: 'Where the host’s root file system is visible; `/host` in the DaemonSet.',
  },
  CRI_SOCKET: { fallback: 'by distribution', meaning: 'containerd’s socket, as a path of the host.' },
  CONTAINERD_CONFIG: {
    fallback: 'by distribution',
    meaning: 'containerd’s configuration, as a path of the host.',
  },
  HANDLER: { fallback: 'runsc', meaning: 'The CRI runtime handler to prove.' },
  LABEL_DOMAIN: {
    fallback: 'gvisor.node-restriction.kubernetes.io',
    meaning: 'Domain of the labels `ready`, `runsc-version` and `platform`.',
  },
  PROOF_INTERVAL: {
    fallback: '10m',
    meaning: 'Time between proofs when nothing changes, ±10 %.',
    bounds: [10_000, 86_400_000],
  },
  PROOF_IMAGE: {
    fallback: 'the agent’s own',
    meaning: 'Image of the probe’s container; it needs `cat` and `sleep`.',
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
  LISTEN_ADDRESS: { fallback: ':9477', meaning: 'Address and port of the HTTP server; `off` for none.' },
  LOG_LEVEL: { fallback: 'info', meaning: '`trace`, `debug`, `info`, `warn`, `error` or `silent`.' },
  PUBLISH: {
    fallback: '`node` in a cluster, nothing on one host',
    meaning: 'Where verdicts go besides HTTP: `node`, or empty for nowhere.',
  },
} as const satisfies Record<string, Setting>;

/** The settings, parsed. Durations are milliseconds. */
export type Config = {
  readonly nodeName: string;
  readonly hostRoot: string;
  readonly criSocket?: string;
  readonly containerdConfig?: string;
  readonly handler: string;
  readonly labelDomain: string;
  readonly proofIntervalMs: number;
  readonly proofImage?: string;
  readonly confirmMs: number;
  readonly graceMs: number;
  readonly minRunscRelease?: string;
  readonly listen?: { readonly host: string; readonly port: number };
  readonly logLevel: string;
  readonly publish: readonly 'node'[];
};

/** The settings of an environment, or every problem in it, one line each. */
export type Parsed = { readonly config: Config } | { readonly problems: readonly string[] };

type Env = Readonly<Record<string, string | undefined>>;

/** Reads the environment; `hostname` and `inCluster` are the defaults that it does not hold. */
export function parseConfig(env: Env, hostname: string, inCluster: boolean): Parsed {
  const problems: string[] = [];
  const text = (name: keyof typeof SETTINGS) => env[name]?.trim() || undefined;
  const matching = (name: keyof typeof SETTINGS, pattern: RegExp, fallback: string, wanted: string) => {
    const value = text(name) ?? fallback;
    if (!pattern.test(value)) problems.push(`${name}="${value}" is not ${wanted}`);
    return value;
  };
  const optionalPath = (name: keyof typeof SETTINGS) => {
    const value = text(name)?.replace(/^unix:\/\//, '');
    if (value !== undefined && !value.startsWith('/'))
      problems.push(`${name}="${value}" is not an absolute path`);
    return value;
  };
  const duration = (name: 'PROOF_INTERVAL' | 'CONFIRM_DELAY' | 'UNKNOWN_GRACE') => {
    const { fallback, bounds } = SETTINGS[name];
    const value = text(name) ?? fallback;
    const ms = parseDuration(value);
    if (ms === undefined) problems.push(`${name}="${value}" is not a duration such as 500ms, 30s, 10m or 1h`);
    else if (ms < bounds[0] || ms > bounds[1]) {
      problems.push(`${name}="${value}" is not between ${bounds[0] / 1000} s and ${bounds[1] / 1000} s`);
    }
    return ms ?? 0;
  };
  const listen = parseListen(text('LISTEN_ADDRESS') ?? SETTINGS.LISTEN_ADDRESS.fallback);
  if (listen === undefined)
    problems.push(`LISTEN_ADDRESS="${env.LISTEN_ADDRESS}" is not [address]:port or off`);
  const publish = (env.PUBLISH ?? (inCluster ? 'node' : ''))
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean);
  for (const word of publish)
    if (word !== 'node') problems.push(`PUBLISH="${word}" is not known: use node, or leave it empty`);
  const criSocket = optionalPath('CRI_SOCKET');
  const containerdConfig = optionalPath('CONTAINERD_CONFIG');
  const proofImage = text('PROOF_IMAGE');
  const minRunscRelease = text('MIN_RUNSC_RELEASE')?.replace(/^release-/, '');
  if (minRunscRelease !== undefined && !/^\d{8}(\.\d+)?$/.test(minRunscRelease)) {
    problems.push(`MIN_RUNSC_RELEASE="${minRunscRelease}" is not a gVisor release such as 20240325.0`);
  }
  const config: Config = {
    nodeName: matching(
      'NODE_NAME',
      /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
      hostname.toLowerCase(),
      'the name of a node',
    ),
    hostRoot: matching('HOST_ROOT', /^\//, '/', 'an absolute path'),
    handler: matching('HANDLER', /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'runsc', 'the name of a handler'),
    labelDomain: matching(
      'LABEL_DOMAIN',
      /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
      SETTINGS.LABEL_DOMAIN.fallback,
      'a domain of labels',
    ),
    proofIntervalMs: duration('PROOF_INTERVAL'),
    confirmMs: duration('CONFIRM_DELAY'),
    graceMs: duration('UNKNOWN_GRACE'),
    logLevel: matching(
      'LOG_LEVEL',
      /^(trace|debug|info|warn|error|silent)$/,
      'info',
      'trace, debug, info, warn, error or silent',
    ),
    publish: publish.length > 0 ? ['node'] : [],
    ...(criSocket === undefined ? {} : { criSocket }),
    ...(containerdConfig === undefined ? {} : { containerdConfig }),
    ...(proofImage === undefined ? {} : { proofImage }),
    ...(minRunscRelease === undefined ? {} : { minRunscRelease }),
    ...(listen === undefined || listen === 'off' ? {} : { listen }),
  };
  return problems.length > 0 ? { problems } : { config };
}

/** Milliseconds of "500ms", "30s", "10m" or "1h"; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const factor = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit ?? ''];
  return number === undefined || factor === undefined ? undefined : Number(number) * factor;
}

function parseListen(text: string): Config['listen'] | 'off' {
  if (text === 'off') return 'off';
  const [, host = '', port] = /^(\[[^[\]\s]+\]|[^[\]\s]*):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
