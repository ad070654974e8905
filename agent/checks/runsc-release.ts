import { advise, pass, refuse, type Seen, unknown } from '../finding.ts';
import { readGvisorFiles } from '../host/gvisor-files.ts';
import { runVersion } from '../host/run-runsc.ts';
import {
  compareReleases,
  parseRunscRelease,
  parseRunscVersion,
  type RunscVersion,
} from '../host/runsc-release.ts';
import type { Check } from './catalogue.ts';

/** First release with the fix of CVE-2025-2713: https://osv.dev/vulnerability/CVE-2025-2713 */
const ADVISED_FLOOR = '20240325.0';

/** Is the gVisor release new enough? */
export const runscRelease: Check = {
  id: 'runsc-release',
  title: 'The gVisor release is new enough',
  guards: ({ minRunscRelease }) => minRunscRelease !== undefined,
  async look(sources, signal) {
    const { runsc } = await readGvisorFiles(sources, signal);
    if (runsc === undefined)
      return unknown('NothingToJudge', 'runsc is not there to be asked for its release');
    const version = parseRunscVersion(await runVersion(sources.host, runsc, { signal }));
    const seen = judgeRelease(runsc, version, sources.minRunscRelease);
    return version?.program === 'runsc' ? { ...seen, facts: { runsc: version.release.text } } : seen;
  },
};

/** Judges what `runsc --version` says against the floor that the settings name, or the advised one without. */
export function judgeRelease(path: string, version: RunscVersion | undefined, floor?: string): Seen {
  if (!version) {
    return unknown('ReleaseUnknown', `"${path} --version" says nothing that is known`, [
      { file: path, value: 'no version' },
    ]);
  }
  const { program, release } = version;
  const evidence = [{ file: path, value: `${program} version ${release.text}` }];
  if (program === 'runc' || program === 'crun') {
    return refuse('HandlerRunsRunc', `"${path}" says that it is ${program}`, evidence);
  }
  const lowest = parseRunscRelease(floor ?? ADVISED_FLOOR);
  const order = compareReleases(release, lowest);
  if (order === undefined) {
    const message =
      release.kind === 'unknown'
        ? `"${path}" does not name its release: ${release.text}`
        : `The floor "${lowest.text}" is no gVisor release`;
    return unknown('ReleaseUnknown', message, evidence);
  }
  if (order >= 0) return pass(`gVisor ${release.text}`, evidence);
  const message = `gVisor ${release.text} is older than ${lowest.text}`;
  return floor === undefined
    ? advise('RunscTooOld', message, evidence)
    : refuse('RunscTooOld', message, evidence);
}
