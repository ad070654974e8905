import type { Installation } from '../../lib/host/installation.ts';

const SINCE = '2026-03-01T11:59:00.000Z';
const PENDING = { release: 'release-20260223.0', step: 'restart', since: SINCE };

/** What an agent may report of the installer. */
export const INSTALLATIONS = {
  done: { installed: 'release-20250203.0' },
  atWork: { installed: 'release-20250203.0', pending: { ...PENDING, interrupted: false } },
  interrupted: { pending: { ...PENDING, interrupted: true } },
  failed: {
    installed: 'release-20250203.0',
    failure: {
      release: 'release-20260224.0',
      step: 'pre-prove',
      reason: 'RunscNotExecutable',
      message: 'gVisor release-20260224.0 does not boot here, so nothing was changed',
      at: SINCE,
    },
  },
} as const satisfies Record<string, Installation>;
