import { advise, block, type CheckResult, pass, skip, unknown } from '../finding.ts';
import { PAGE_BYTES } from '../host/program.ts';
import type { RunscProgram } from '../runsc/program.ts';
import { compareReleases, parseRunscRelease } from '../runsc/program.ts';
import type { Check, CheckInputs } from './check.ts';

/** First release with the fix of CVE-2025-2713: https://osv.dev/vulnerability/CVE-2025-2713 */
const ADVISED_FLOOR = '20240325.0';

/** Is the gVisor release new enough? It is read out of the program file, which the probe's process must be running. */
export const runscRelease: Check = {
  id: 'runsc-release',
  title: 'The gVisor release is new enough',
  required: ({ minRunscRelease }) => minRunscRelease !== undefined,
  async inspect(reading, witness) {
    const found = await reading.programs();
    const { minRunscRelease } = reading.sources;
    const [first] = found;
    if (first === undefined) {
      const message = 'runsc was not found, so that its release is not known';
      if (witness === undefined) return skip(message);
      return { ...unknown('ReleaseUnknown', message), facts: { runsc: undefined } };
    }
    const running = witness === undefined ? first : await runningOf(reading, witness.textPages);
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

/** Which program it is that has so many pages of code; an upgrade may have replaced it before the boot, or after it. */
async function runningOf(reading: CheckInputs, pages: number): Promise<RunscProgram | undefined> {
  const runs = ({ textBytes }: RunscProgram) => PAGE_BYTES.some((bytes) => textBytes.has(pages * bytes));
  return (await reading.programs()).find(runs) ?? (await reading.programsNow()).find(runs);
}

/** Judges a release against the floor that the settings name, or the advised one without. */
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
  const say = floor === undefined ? advise : block;
  return say('RunscTooOld', message, evidence);
}
