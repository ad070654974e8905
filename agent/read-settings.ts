import type { Setting } from './settings.ts';

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
