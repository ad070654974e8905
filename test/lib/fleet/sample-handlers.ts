import { error } from '../../../lib/checks/finding.ts';
import type { HandlerReport } from '../../../lib/report/report.ts';
import { findingsWith, HEALTHY, HOSTILE } from '../../agent/text/sample-reports.ts';

const AT = '2026-11-24T17:14:02.118Z';
const BOOTED = 'a sandbox of handler "runsc-kvm" booted in gVisor in 0.61 s';
const PROVEN = { status: 'True', reason: 'SandboxProven', message: BOOTED } as const;
const CONFIG = '/etc/containerd/runsc-kvm.toml';

/** The report of an additional handler that works beside {@link HEALTHY}. */
export const KVM_PROVEN: HandlerReport = {
  handler: 'runsc-kvm',
  verdict: PROVEN,
  evaluation: { verdict: PROVEN, at: AT, trigger: 'timer', durationMs: 911 },
  findings: HEALTHY.findings.map((finding) => ({
    ...finding,
    message: finding.message.replace('"runsc"', '"runsc-kvm"'),
    durationMs: finding.durationMs + 1,
  })),
  proof: { ...HEALTHY.proof, message: BOOTED },
  provenAt: AT,
  facts: { ...HEALTHY.facts, platform: 'kvm' },
  history: [{ ...PROVEN, at: '2026-11-24T09:41:08.001Z' }],
};

const NO_CONFIG = `"${CONFIG}" is not there`;
const NO_BOOT =
  'failed to create containerd task: failed to create shim task: open /etc/containerd/runsc-kvm.toml: no such file or directory';
const BROKEN = {
  status: 'False',
  reason: 'RunscConfigInvalid',
  message: `${NO_CONFIG}; ${NO_BOOT}`,
} as const;

/** The same handler without its configuration. */
export const KVM_BROKEN: HandlerReport = {
  ...KVM_PROVEN,
  verdict: BROKEN,
  evaluation: { verdict: BROKEN, at: AT, trigger: `file ${CONFIG}`, durationMs: 412 },
  findings: findingsWith({
    'runsc-config': error('RunscConfigInvalid', NO_CONFIG, [{ value: `ConfigPath ${CONFIG}` }]),
  }),
  proof: { kind: 'failed', reason: 'RunscConfigInvalid', message: NO_BOOT },
  history: [{ ...BROKEN, at: AT }, ...KVM_PROVEN.history],
};

const { version: _, node: __, installation: ___, ...HOSTILE_HANDLER } = HOSTILE;

/** Additional handlers whose texts are all markup or endless words. */
export const HOSTILE_HANDLERS: readonly HandlerReport[] = [
  HOSTILE_HANDLER,
  { ...HOSTILE_HANDLER, facts: { platform: HOSTILE.verdict.message } },
];
