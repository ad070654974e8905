import { settingLines } from './read-settings.ts';
import { SETTINGS } from './settings.ts';

/** What --help prints: the flags, the exit codes, and every setting with its default. */
export function helpText(version: string): string {
  return `gvisor-ready agent ${version}: proves that gVisor works on this node, and keeps watching it.

usage: npm start -- [--once] [--json] [--version] [--help]
  --once     look once; exit code 0 proven, 1 not ready, 2 unknown, 64 wrong usage
  --json     print the report as JSON (with --once), else JSON logs

settings, from the environment:
${settingLines(SETTINGS, 18)}
`;
}
