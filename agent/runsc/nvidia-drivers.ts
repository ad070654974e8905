import type { RunscRelease } from '../../lib/runsc/program.ts';
import TABLE from './nvidia-drivers.json' with { type: 'json' };

/** Oldest first, such as "580.105.08". gVisor compares them exactly. */
export type NvidiaDrivers = {
  readonly supported: readonly string[];
  /** Refused without gVisor's flag nvproxy-allow-unsupported-driver. */
  readonly unqualified: readonly string[];
};

const DRIVERS: ReadonlyMap<string, NvidiaDrivers> = new Map(
  TABLE.flatMap(({ releases, supported, unqualified }) => {
    const drivers = { supported: wordsOf(supported), unqualified: wordsOf(unqualified) };
    return wordsOf(releases).map((release) => [`release-${release}`, drivers] as const);
  }),
);

/** Undefined for a release that is not in the table, and for builds between releases. */
export function driversOf({ text }: RunscRelease): NvidiaDrivers | undefined {
  return DRIVERS.get(text);
}

/**
 * As gVisor reads and prints it; undefined for any other text.
 * https://github.com/google/gvisor/blob/release-20260817.0/pkg/sentry/devices/nvproxy/nvconf/version.go
 */
export function parseNvidiaVersion(text: string): string | undefined {
  if (!/^\d{1,6}(\.\d{1,6}){1,2}$/.test(text)) return undefined;
  const [major = 0, minor = 0, patch = 0] = text.split('.').map(Number);
  return [major, minor, patch].map((part) => String(part).padStart(2, '0')).join('.');
}

/** Negative when driver `a` is older than `b`. */
export function compareDrivers(a: string, b: string): number {
  const [these, those] = [a, b].map((version) => version.split('.').map(Number));
  for (const [index, part] of (these ?? []).entries()) {
    const order = part - (those?.[index] ?? 0);
    if (order !== 0) return order;
  }
  return 0;
}

/** The next older and the next newer, of the same branch if there is one. */
export function nearestDrivers(driver: string, drivers: readonly string[]): readonly string[] {
  const branch = (version: string) => version.split('.')[0];
  const same = drivers.filter((version) => branch(version) === branch(driver));
  const near = same.length > 0 ? same : drivers;
  const older = near.filter((version) => compareDrivers(version, driver) < 0).at(-1);
  const newer = near.find((version) => compareDrivers(version, driver) > 0);
  return [older, newer].filter((version) => version !== undefined);
}

function wordsOf(text: string): readonly string[] {
  return text.split(' ').filter((word) => word !== '');
}
