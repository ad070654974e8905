export type Env = Readonly<Record<string, string | undefined>>;

/** The host "::" means every address. */
export type ListenAddress = { readonly host: string; readonly port: number };

/** Collects all problems, one line each. */
export class SettingsReader<Name extends string> {
  readonly problems: string[] = [];
  readonly #env: Env;
  readonly #settings: Readonly<Record<Name, Setting>>;

  constructor(env: Env, settings: Readonly<Record<Name, Setting>>) {
    this.#env = env;
    this.#settings = settings;
  }

  /** Trimmed; undefined if it is unset or blank. */
  text(name: Name): string | undefined {
    return this.#env[name]?.trim() || undefined;
  }

  /** `expected` describes the pattern in the problem text. */
  matching(name: Name, pattern: RegExp, expected: string, fallback = this.#settings[name].fallback): string {
    const value = this.text(name) ?? fallback;
    if (!pattern.test(value)) this.problems.push(`${name}="${value}" is not ${expected}`);
    return value;
  }

  /** Undefined if it is unset. */
  optional(name: Name, pattern: RegExp, expected: string): string | undefined {
    return this.text(name) === undefined ? undefined : this.matching(name, pattern, expected);
  }

  isOn(name: Name): boolean {
    return this.matching(name, /^(on|off)$/, 'on or off') === 'on';
  }

  /** Milliseconds. */
  duration(name: Name): number {
    const { fallback, bounds: [min = 0, max = Number.POSITIVE_INFINITY] = [] } = this.#settings[name];
    const value = this.text(name) ?? fallback;
    const ms = parseDuration(value);
    if (ms === undefined)
      this.problems.push(`${name}="${value}" is not a duration such as 500ms, 30s, 10m or 1h`);
    else if (ms < min || ms > max)
      this.problems.push(`${name}="${value}" is not between ${min / 1000} s and ${max / 1000} s`);
    return ms ?? 0;
  }

  /** Such as ":9477" or "[::1]:9477". */
  address(name: Name, expected = '[address]:port'): ListenAddress {
    const value = this.text(name) ?? this.#settings[name].fallback;
    const [, host = '', port] = /^(\[[^[\]\s]+\]|[^[\]\s]*):(\d{1,5})$/.exec(value) ?? [];
    if (port === undefined || Number(port) > 65_535)
      this.problems.push(`${name}="${value}" is not ${expected}`);
    return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port: Number(port) };
  }

  logLevel(name: Name): string {
    const levels = /^(trace|debug|info|warn|error|silent)$/;
    return this.matching(name, levels, 'trace, debug, info, warn, error or silent');
  }
}

const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** "500ms", "30s", "1m30s" or "1h" in milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  const parts = [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)];
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * MS[unit as keyof typeof MS], 0);
}

/** Lines of --help: name (padded to `width`), meaning, default. */
export function settingLines(settings: Readonly<Record<string, Setting>>, width: number): string {
  return Object.entries(settings)
    .map(([name, { fallback, meaning }]) => `  ${name.padEnd(width)} ${meaning} (${fallback})`)
    .join('\n');
}

/** The default is as written in the environment. */
export type Setting = {
  readonly fallback: string;
  readonly meaning: string;
  /** The least and the greatest of a duration, in milliseconds. */
  readonly bounds?: readonly number[];
};
