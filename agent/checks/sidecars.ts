import { posix } from 'node:path';
import { type CheckResult, error, pass, skip, unknown, warning } from '../../lib/checks/finding.ts';
import type { Host } from '../../lib/host/host.ts';
import type { RunscConfig } from '../../lib/runsc/config.ts';
import { compareReleases, parseRunscRelease, type RunscRelease } from '../../lib/runsc/program.ts';
import type { CheckInputs } from './check.ts';

const DIRECTORY = 'gvisor-bin';
/** The others serve metrics and checkpoints or speed up a boot. */
const SENTRY = 'gvisor_sentry';
/**
 * With sidecars (any), with the sentry among them, that require it, and that forbid a fallback:
 * https://github.com/google/gvisor/issues/13718
 */
const SINCE = { any: '20260721.0', sentry: '20260810.0', required: '20260831.0', strict: '20261001.0' };

/** Newer releases install programs in gvisor-bin beside runsc. */
export async function checkSidecars(inputs: CheckInputs): Promise<CheckResult> {
  const runsc = await inputs.runsc();
  if (runsc === undefined) return skip('runsc is not there, so its sidecars are unknown');
  const program = (await inputs.programs()).find(({ path }) => path === runsc);
  const release = program?.release ?? parseRunscRelease('');
  return judgeSidecars(runsc, release, {
    ...(await findSidecars(inputs.sources.host, runsc)),
    isFallbackAllowed: allowsFallback(await inputs.runscConfig(), release),
  });
}

export type Sidecars = {
  readonly directory: string;
  readonly names: readonly string[] | undefined;
  readonly isFallbackAllowed: boolean;
};

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
    const result = isFallbackAllowed ? warning : error;
    return result('SidecarMissing', message, evidence);
  }
  if (since(SINCE.sentry) && !has) {
    const message = `gVisor ${release.text} boots slower without ${SENTRY} in "${directory}", and newer releases need it`;
    return warning('SidecarMissing', message, evidence);
  }
  if (!since(SINCE.any) && names) {
    const message = `gVisor ${release.text} knows no sidecars, and "${directory}" has some: runsc is older than they are`;
    return warning('ReleaseSkew', message, evidence);
  }
  return pass(has ? `"${directory}" has ${SENTRY}` : `gVisor ${release.text} needs no sidecars`, evidence);
}

/** Beside the path of runsc, then beside a link's target. */
async function findSidecars(host: Host, runsc: string): Promise<Pick<Sidecars, 'directory' | 'names'>> {
  const real = (await host.realpath(runsc)) ?? runsc;
  const directories = [runsc, real].map((path) => posix.join(posix.dirname(path), DIRECTORY));
  for (const directory of directories) {
    const names = await host.list(directory);
    if (names !== undefined) return { directory, names };
  }
  return { directory: directories[0] ?? '', names: undefined };
}

/** The default until the release that the flag's help names. */
function allowsFallback({ flags }: RunscConfig, release: RunscRelease): boolean {
  const policy = flags.get('sidecar-usage-policy')?.toUpperCase() ?? 'DEFAULT';
  const isOlder = (compareReleases(release, parseRunscRelease(SINCE.strict)) ?? 0) < 0;
  return policy.startsWith('LEGACY') || (policy === 'DEFAULT' && isOlder);
}
