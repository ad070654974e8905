import { posix } from 'node:path';
import { advise, block, pass, type Seen, skip, unknown } from '../finding.ts';
import { PAGE_BYTES } from '../host/program.ts';
import type { RunscProgram } from '../runsc/program.ts';
import { compareReleases, parseRunscRelease } from '../runsc/release.ts';
import type { Check } from './check.ts';
import type { Reading } from './reading.ts';

/** First release with the fix of CVE-2025-2713: https://osv.dev/vulnerability/CVE-2025-2713 */
const ADVISED_FLOOR = '20240325.0';

/** Is the gVisor release new enough? It is read out of the program file, which the probe's process must be running. */
export const runscRelease: Check = {
  id: 'runsc-release',
  title: 'The gVisor release is new enough',
  required: ({ minRunscRelease }) => minRunscRelease !== undefined,
  async inspect(reading, witness) {
    const found = await readPrograms(reading);
    const { minRunscRelease } = reading.sources;
    const [first] = found;
    if (first === undefined) {
      const message = 'runsc was not found, so that its release is not known';
      return witness === undefined ? skip(message) : unknown('ReleaseUnknown', message);
    }
    const running = witness === undefined ? first : found.find((program) => runs(program, witness.textPages));
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

function runs({ textBytes }: RunscProgram, pages: number): boolean {
  return PAGE_BYTES.some((bytes) => textBytes.has(pages * bytes));
}

/** runsc, and the sentry beside it, which is the program of a sandbox in releases since July 2026. */
async function readPrograms(reading: Reading): Promise<readonly RunscProgram[]> {
  const { host, programs } = reading.sources;
  const runsc = await reading.runsc();
  if (runsc === undefined) return [];
  const real = (await host.realpath(runsc)) ?? runsc;
  const paths = new Set([
    runsc,
    ...[runsc, real].map((path) => posix.join(posix.dirname(path), 'gvisor-bin/gvisor_sentry')),
  ]);
  const read = await Promise.all([...paths].map((path) => programs.read(host, path)));
  return read.filter((program) => program !== undefined);
}

/** Judges a release against the floor that the settings name, or the advised one without. */
export function judgeRelease(
  { path, release }: Pick<RunscProgram, 'path' | 'release'>,
  floor?: string,
): Seen {
  const evidence = [{ file: path, value: release.text || 'no release' }];
  const lowest = parseRunscRelease(floor ?? ADVISED_FLOOR);
  const order = compareReleases(release, lowest);
  if (order === undefined) return unknown('ReleaseUnknown', `"${path}" does not name its release`, evidence);
  if (order >= 0) return pass(`gVisor ${release.text}`, evidence);
  const message = `gVisor ${release.text} is older than ${lowest.text}`;
  const say = floor === undefined ? advise : block;
  return say('RunscTooOld', message, evidence);
}
