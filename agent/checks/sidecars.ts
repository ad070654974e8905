import { posix } from 'node:path';
import { advise, type CheckResult, fail, pass, skip, unknown } from '../finding.ts';
import type { Host } from '../host/host.ts';
import type { RunscConfig } from '../runsc/config.ts';
import { compareReleases, parseRunscRelease, type RunscRelease } from '../runsc/program.ts';
import type { Check } from './check.ts';

const DIRECTORY = 'gvisor-bin';
/** The program that boots a sandbox; the others serve metrics and checkpoints, or make a boot faster. */
const SENTRY = 'gvisor_sentry';
/** Releases from which sidecars exist, the sentry is one of them, and they are required: https://github.com/google/gvisor/issues/13718 */
const SINCE = {
  any: '20260721.0',
  sentry: '20260810.0',
  required: '20260831.0',
  strict: '20261001.0',
} as const;

/** Are the programs that newer releases keep in gvisor-bin beside runsc, and of the same release? */
export const sidecars: Check = {
  id: 'sidecars',
  title: 'runsc has the sidecar programs of its release',
  async inspect(reading) {
    const runsc = await reading.runsc();
    if (runsc === undefined) return skip('runsc is not there, so its sidecars cannot be told');
    const program = (await reading.programs()).find(({ path }) => path === runsc);
    const release = program?.release ?? parseRunscRelease('');
    return judgeSidecars(runsc, release, {
      ...(await findSidecars(reading.sources.host, runsc)),
      isFallbackAllowed: fallsBack(await reading.runscConfig(), release),
    });
  },
};

/** What lies beside runsc: the directory looked for, the names in it, and the flag that does without. */
export type Sidecars = {
  readonly directory: string;
  readonly names: readonly string[] | undefined;
  readonly isFallbackAllowed: boolean;
};

/** Judges the sidecars that are there against those that the release wants. */
export function judgeSidecars(runsc: string, release: RunscRelease, found: Sidecars): CheckResult {
  const { directory, names, isFallbackAllowed } = found;
  const has = names?.includes(SENTRY) ?? false;
  const evidence = [{ file: directory, value: names ? names.join(' ') : 'absent' }];
  const since = (floor: string) => (compareReleases(release, parseRunscRelease(floor)) ?? -1) >= 0;
  if (release.kind === 'unknown') {
    if (has) return pass(`"${directory}" has ${SENTRY}`, evidence);
    const message = `"${runsc}" does not name its release, so it is not known whether it needs "${directory}"`;
    return unknown('ReleaseUnknown', message, evidence);
  }
  if (since(SINCE.required) && !has) {
    const message = `gVisor ${release.text} needs ${SENTRY} in "${directory}"`;
    const say = isFallbackAllowed ? advise : fail;
    return say('SidecarMissing', message, evidence);
  }
  if (since(SINCE.sentry) && !has) {
    const message = `gVisor ${release.text} boots slower without ${SENTRY} in "${directory}", and newer releases need it`;
    return advise('SidecarMissing', message, evidence);
  }
  if (!since(SINCE.any) && names) {
    const message = `gVisor ${release.text} knows no sidecars, and "${directory}" has some: runsc is older than they are`;
    return advise('ReleaseSkew', message, evidence);
  }
  return pass(has ? `"${directory}" has ${SENTRY}` : `gVisor ${release.text} needs no sidecars`, evidence);
}

/** Beside the path of runsc, else beside the file that a symbolic link leads to. */
async function findSidecars(host: Host, runsc: string): Promise<Pick<Sidecars, 'directory' | 'names'>> {
  const real = (await host.realpath(runsc)) ?? runsc;
  const places = [runsc, real].map((path) => posix.join(posix.dirname(path), DIRECTORY));
  for (const directory of places) {
    const names = await host.list(directory);
    if (names !== undefined) return { directory, names };
  }
  return { directory: places[0] ?? '', names: undefined };
}

/** The default policy falls back on runsc itself, and is STRICT from the release on that the flag's own help names. */
function fallsBack({ flags }: RunscConfig, release: RunscRelease): boolean {
  const policy = flags.get('sidecar-usage-policy')?.toUpperCase() ?? 'DEFAULT';
  const isOlder = (compareReleases(release, parseRunscRelease(SINCE.strict)) ?? 0) < 0;
  return policy.startsWith('LEGACY') || (policy === 'DEFAULT' && isOlder);
}
