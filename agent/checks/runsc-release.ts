import { blocker, type CheckResult, pass, skip, unknown, warning } from '../../lib/checks/finding.ts';
import type { Witness } from '../../lib/proof/witness.ts';
import {
  compareReleases,
  hasTextPages,
  parseRunscRelease,
  type RunscProgram,
} from '../../lib/runsc/program.ts';
import type { CheckInputs } from './check.ts';

/** First release that fixes CVE-2025-2713: https://osv.dev/vulnerability/CVE-2025-2713 */
const ADVISED_FLOOR = '20240325.0';

/** Read from the program file that the probe's process runs. */
export async function checkRunscRelease(inputs: CheckInputs, witness?: Witness): Promise<CheckResult> {
  const found = await inputs.programs();
  const running = await runningOf(inputs, witness);
  if (running === undefined) {
    const message =
      found.length === 0
        ? 'runsc was not found, so that its release is not known'
        : `The sandbox runs a program that is not ${found.map(({ path }) => `"${path}"`).join(' and ')}, so that its release is not known`;
    if (witness === undefined) return skip(message);
    const evidence = [{ value: `${witness.textPages} pages of code` }];
    return { ...unknown('ReleaseUnknown', message, evidence), facts: { runsc: undefined } };
  }
  const { release } = running;
  const runsc = release.kind === 'unknown' ? undefined : release.text;
  return { ...judgeRelease(running, inputs.sources.minRunscRelease), facts: { runsc } };
}

/** By the sandbox's pages of code: an upgrade may replace the file around the boot. runsc without a proof. */
export async function runningOf(inputs: CheckInputs, witness?: Witness): Promise<RunscProgram | undefined> {
  if (witness === undefined) return (await inputs.programs())[0];
  const runs = (program: RunscProgram) => hasTextPages(program, witness.textPages);
  return (await inputs.programs()).find(runs) ?? (await inputs.currentPrograms()).find(runs);
}

export function judgeRelease(
  { path, release }: Pick<RunscProgram, 'path' | 'release'>,
  floor?: string,
): CheckResult {
  const evidence = [{ file: path, value: release.text || 'no release' }];
  const lowest = parseRunscRelease(floor ?? ADVISED_FLOOR);
  const order = compareReleases(release, lowest);
  if (order === undefined) return unknown('ReleaseUnknown', `"${path}" does not name its release`, evidence);
  if (order >= 0) return pass(`gVisor ${release.text}`, evidence);
  const message = `gVisor ${release.text} is older than ${lowest.text}`;
  const result = floor === undefined ? warning : blocker;
  return result('RunscTooOld', message, evidence);
}
