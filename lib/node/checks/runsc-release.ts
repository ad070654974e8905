import type { Witness } from '../proof/witness.ts';
import { compareReleases, hasTextPages, parseRunscRelease, type RunscProgram } from '../runsc/program.ts';
import type { Check, CheckInputs } from './check.ts';
import { blocker, type CheckResult, pass, skip, unknown, warning } from './finding.ts';

/** First release that fixes CVE-2025-2713: https://osv.dev/vulnerability/CVE-2025-2713 */
const ADVISED_FLOOR = '20240325.0';

/** Read from the program file that the probe's process runs. */
export const runscRelease: Check = {
  id: 'runsc-release',
  title: 'The gVisor release is new enough',
  required: ({ minRunscRelease }) => minRunscRelease !== undefined,
  async inspect(inputs, witness) {
    const found = await inputs.programs();
    const { minRunscRelease } = inputs.sources;
    const [first] = found;
    if (first === undefined) {
      const message = 'runsc was not found, so that its release is not known';
      if (witness === undefined) return skip(message);
      return { ...unknown('ReleaseUnknown', message), facts: { runsc: undefined } };
    }
    const running = await runningOf(inputs, witness);
    if (running === undefined) {
      const paths = found.map(({ path }) => `"${path}"`).join(' and ');
      const message = `The sandbox runs a program that is not ${paths}, so that its release is not known`;
      const seen = unknown('ReleaseUnknown', message, [{ value: `${witness?.textPages} pages of code` }]);
      return { ...seen, facts: { runsc: undefined } };
    }
    const { release } = running;
    const runsc = release.kind === 'unknown' ? undefined : release.text;
    return { ...judgeRelease(running, minRunscRelease), facts: { runsc } };
  },
};

/**
 * The program with as many pages of code as the sandbox's: an upgrade may have replaced the file around the
 * boot. Without a proof runsc itself.
 */
export async function runningOf(
  inputs: CheckInputs,
  witness: Witness | undefined,
): Promise<RunscProgram | undefined> {
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
