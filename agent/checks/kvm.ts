import { at, type CheckResult, error, pass, skip } from '../../lib/checks/finding.ts';
import { offersVirtualization } from '../../lib/host/system.ts';
import type { CheckInputs } from './check.ts';

/** Lists KVM once a module for the processor is loaded. */
const DRIVERS = '/proc/misc';
const PROCESSOR = '/proc/cpuinfo';

/**
 * Only whether the kernel has KVM. Whether it runs a guest only a boot shows: nested virtualization may not,
 * and PVM needs neither vmx nor svm. The agent does not see /dev.
 */
export async function checkKvm(inputs: CheckInputs): Promise<CheckResult> {
  const { file, flags, lines } = await inputs.runscConfig();
  if (flags.get('platform') !== 'kvm') return skip("The shim's configuration does not set the platform kvm");
  const { host } = inputs.sources;
  const drivers = await host.readText(DRIVERS);
  if (drivers === undefined) throw new Error(`Cannot read host file "${DRIVERS}": it is not there`);
  const platform = at({ file, line: lines.get('platform') }, 'platform kvm');
  if (/^ *\d+ kvm$/m.test(drivers)) return pass('KVM is loaded', [platform, at({ file: DRIVERS }, 'kvm')]);
  const evidence = [platform, at({ file: DRIVERS }, 'no kvm')];
  const message = 'The platform is kvm, and the KVM module is not loaded';
  if (process.arch !== 'x64' || offersVirtualization((await host.readText(PROCESSOR)) ?? ''))
    return error('KvmMissing', message, evidence);
  const none = 'neither vmx nor svm';
  return error('KvmMissing', `${message}; the processor shows ${none}`, [
    ...evidence,
    at({ file: PROCESSOR }, none),
  ]);
}
