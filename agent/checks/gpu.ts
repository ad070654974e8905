import { type CheckResult, error, pass, skip, unknown, warning } from '../../lib/checks/finding.ts';
import type { Facts } from '../../lib/host/system.ts';
import type { Witness } from '../../lib/proof/witness.ts';
import { isTrue } from '../../lib/runsc/flag-rules.ts';
import { compareReleases, parseRunscRelease, type RunscRelease } from '../../lib/runsc/program.ts';
import { driversOf, nearestDrivers, parseNvidiaVersion } from '../runsc/nvidia-drivers.ts';
import type { CheckInputs } from './check.ts';
import { runningOf } from './runsc-release.ts';

/** https://download.nvidia.com/XFree86/Linux-x86_64/550.54.15/README/procinterface.html */
const FILE = '/proc/driver/nvidia/version';
/** Of the open driver, then of the proprietary one: https://github.com/nix-community/nixGL/issues/186 */
const VERSION =
  /^NVRM version: +NVIDIA UNIX (?:Open Kernel Module for \S+|\S+ Kernel Module) +(\d[\d.]*)(?: |$)/m;
/** The first release that passes a GPU on without nvproxy. https://github.com/google/gvisor/commit/0bf82b30d */
const AUTOMATIC_SINCE = parseRunscRelease('20260525.0');
const NO_FACTS = { nvidiaDriver: undefined, gpu: undefined };
const GPU_FACTS: Readonly<Record<string, Facts['gpu']>> = { pass: 'true', fail: 'false' };

/** gVisor refuses a driver that its release does not know, and pods see a bare EOF. */
export async function checkGpu(inputs: CheckInputs, witness?: Witness): Promise<CheckResult> {
  const text = await inputs.sources.host.readText(FILE);
  if (text === undefined) return { ...skip('There is no NVIDIA driver'), facts: NO_FACTS };
  const driver = parseNvidiaVersion(VERSION.exec(text)?.[1] ?? '');
  if (driver === undefined) {
    const message = `"${FILE}" names no version of the NVIDIA driver`;
    const evidence = [{ file: FILE, value: text.slice(0, 100) }];
    return { ...unknown('GpuDriverUnknown', message, evidence), facts: NO_FACTS };
  }
  const program = await runningOf(inputs, witness);
  const flags = witness?.flags ?? Object.fromEntries((await inputs.runscConfig()).flags);
  const result = judgeDriver(driver, program?.release ?? parseRunscRelease(''), flags);
  const evidence = [
    { file: FILE, value: driver },
    ...(program === undefined ? [] : [{ file: program.path, value: program.release.text || 'no release' }]),
  ];
  return { ...result, evidence, facts: { nvidiaDriver: driver, gpu: GPU_FACTS[result.status] } };
}

/**
 * `nvproxy-driver-version` replaces the driver's version if it is set.
 * https://github.com/google/gvisor/blob/release-20260817.0/pkg/sentry/devices/nvproxy/nvproxy.go (Register)
 */
export function judgeDriver(
  driver: string,
  release: RunscRelease,
  flags: Readonly<Record<string, string>>,
): CheckResult {
  const drivers = driversOf(release);
  if (drivers === undefined) {
    const which = release.text === '' ? 'the installed gVisor' : `gVisor ${release.text}`;
    return unknown('GpuDriverUnknown', `It is not known whether ${which} supports NVIDIA driver ${driver}`);
  }
  const gvisor = `gVisor ${release.text}`;
  // nvproxy is then part of every sandbox, with a GPU or without.
  const isEverywhere = isTrue(flags.nvproxy ?? '');
  const fault = isEverywhere ? error : warning;
  const effect = isEverywhere
    ? 'no pod starts while its flag nvproxy is set'
    : 'pods with a GPU do not start';
  const isAutomatic = (compareReleases(release, AUTOMATIC_SINCE) ?? -1) >= 0;
  if (!isAutomatic && !isEverywhere)
    return skip(`${gvisor} gives pods a GPU only with its flag nvproxy, which is not set`);
  const { supported, unqualified } = drivers;
  const isAllowed = isTrue(flags['nvproxy-allow-unsupported-driver'] ?? '');
  const given = flags['nvproxy-driver-version'] ?? '';
  const takenFor = () => {
    if (given === '') return driver;
    return given === 'latest' ? supported.at(-1) : parseNvidiaVersion(given);
  };
  const taken = takenFor();
  const isKnown = taken !== undefined && [...supported, ...(isAllowed ? unqualified : [])].includes(taken);
  if (given !== '' && taken !== driver) {
    const flag = `flag nvproxy-driver-version=${given}`;
    if (isKnown) {
      const message = `By its ${flag} ${gvisor} takes NVIDIA driver ${driver} for ${taken}: whether these are compatible is not known`;
      return unknown('GpuDriverUnknown', message);
    }
    return fault(
      'GpuDriverUnsupported',
      `${gvisor} does not support the driver in its ${flag}, so that ${effect}`,
    );
  }
  if (supported.includes(driver)) return pass(`${gvisor} supports NVIDIA driver ${driver}`);
  if (isKnown) {
    const message = `${gvisor} does not support NVIDIA driver ${driver}, but its flag nvproxy-allow-unsupported-driver allows it`;
    return pass(message);
  }
  const nearest = nearestDrivers(driver, supported).join(' and ');
  const allow = unqualified.includes(driver)
    ? ', and the flag nvproxy-allow-unsupported-driver would allow this one'
    : '';
  const message = `${gvisor} does not support NVIDIA driver ${driver}, so that ${effect}. The nearest that it supports: ${nearest}${allow}`;
  return fault('GpuDriverUnsupported', message);
}
