import { posix } from 'node:path';
import { sanitizeLine } from '../base/sanitize.ts';
import { matchesPattern } from '../host/glob.ts';
import { BLOCKERS, HARMLESS, WARNINGS, WHY_HOST_UDS } from './flag-rules.ts';

/**
 * The process name, and the program through which newer releases start it.
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/sandbox/sandbox.go (createSandboxProcess),
 * https://github.com/google/gvisor/issues/13718
 */
const SENTRY = 'runsc-sandbox';
const PREWARMER = 'gvisor-sentry-prewarmer';

/**
 * Undefined for any other process. The arguments contain every flag that differs from its default, whatever
 * set it. https://github.com/google/gvisor/blob/release-20260223.0/runsc/config/flags.go (ToFlags)
 */
export function sentryFlags(argv: readonly string[]): ReadonlyMap<string, string> | undefined {
  const [program = ''] = argv;
  const isSentry = program === SENTRY || posix.basename(program) === PREWARMER;
  const at = argv.indexOf(SENTRY);
  if (!isSentry || at === -1) return undefined;
  const flags = new Map<string, string>();
  for (const argument of argv.slice(at + 1)) {
    const [, name = '', value = 'true'] = /^--?([^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (name === '') break; // the command "boot"
    flags.set(name, value);
  }
  return flags;
}

export type Weakness = {
  readonly flag: string;
  readonly value: string;
  /** A `blocker` is a way out to the host, or to attack it; a `warning` is less protection, often intended. */
  readonly severity: 'blocker' | 'warning';
  readonly why: string;
};

const KNOWN: ReadonlySet<string> = new Set([
  ...[...BLOCKERS, ...WARNINGS].map(([name]) => name),
  ...HARMLESS,
]);

const ANNOTATION = 'dev.gvisor.';
const MAX_CHARACTERS = 100;
export const UNKNOWN = 'this agent does not know whether the flag is harmless';

/** Blockers first. An unknown flag is a warning, because a newer gVisor may have flags that weaken. */
export function weaknessesOf(
  flags: ReadonlyMap<string, string>,
  annotations: ReadonlyMap<string, string> = new Map(),
): readonly Weakness[] {
  const given = [...flags, ...annotations];
  const found = (rules: typeof BLOCKERS, severity: Weakness['severity']) =>
    given.flatMap(([flag, value]) => {
      const rule = rules.find(([name]) => name === flag);
      if (rule === undefined) return [];
      const [, weakens, why] = rule;
      return weakens(value) ? [{ flag, value, severity, why }] : [];
    });
  const unknown = [...flags].filter(([flag]) => !KNOWN.has(flag));
  const weak: readonly Weakness[] = [
    ...found(BLOCKERS, 'blocker'),
    ...found(WARNINGS, 'warning'),
    ...unknown.map(([flag, value]) => ({ flag, value, severity: 'warning', why: UNKNOWN }) as const),
  ];
  return weak.map(({ flag, value, ...rest }) => ({ flag: shorten(flag), value: shorten(value), ...rest }));
}

/** Names of files and descriptors, which each sandbox has for itself. */
const OWN = /(^|-)(root|log|log-format|fd)$/;
const MAX_FLAGS = 40;

/** A sentry's flags, shortened: at most 40, those that weaken it first, and ways out to the host before all. */
export function flagsInForce(flags: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  const weak = weaknessesOf(flags).map(({ flag, value }) => [flag, value] as const);
  const others = [...flags].filter(
    ([flag]) => !OWN.test(flag) && !weak.some(([name]) => name === shorten(flag)),
  );
  const short = others.map(([flag, value]) => [shorten(flag), shorten(value)] as const);
  return Object.fromEntries([...weak, ...short].slice(0, MAX_FLAGS));
}

/** Truncates untrusted text; copies, because V8 slices retain the parent string. */
export function shorten(text: string): string {
  return Buffer.from(sanitizeLine(text.slice(0, MAX_CHARACTERS))).toString();
}

export function isAnnotation(name: string): boolean {
  return name.startsWith(ANNOTATION);
}

/**
 * Annotations that weaken a pod's own sandbox. runsc accepts some without `allow-flag-override`; of these
 * only host-uds weakens, in gVisor 2025-02, 2026-02 and 2026-09.
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/config/flags.go (overrideAllowlist),
 * https://github.com/google/gvisor/blob/release-20260223.0/runsc/specutils/specutils.go (fixSpec)
 */
const ANNOTATIONS: ReadonlyMap<string, string> = new Map([
  [`${ANNOTATION}flag.host-uds`, WHY_HOST_UDS],
  ...[...BLOCKERS, ...WARNINGS].flatMap(([name, , why]): [string, string][] =>
    isAnnotation(name) ? [[name, why]] : [],
  ),
]);

/** Those that containerd copies into the OCI spec under these patterns. */
export function annotationsPassed(
  patterns: readonly string[],
): readonly { readonly pattern: string; readonly annotation: string; readonly why: string }[] {
  return patterns.flatMap((pattern) =>
    [...ANNOTATIONS]
      .filter(([annotation]) => matchesPattern(pattern, annotation))
      .map(([annotation, why]) => ({ pattern, annotation, why })),
  );
}
