import type { Host } from '../host/host.ts';
import { type CheckResult, error, pass, warning } from './finding.ts';

const FILE = '/proc/sys/user/max_user_namespaces';
/** https://github.com/google/gvisor/blob/master/runsc/hostsettings/hostsettings.go */
const NEEDED = 2;
const RECOMMENDED = 256;

export async function checkUserNamespaces(host: Host): Promise<CheckResult> {
  const text = await host.readText(FILE);
  if (text === undefined) {
    // If /proc/sys exists, the kernel was built without user namespaces.
    if ((await host.stat('/proc/sys/kernel')) === undefined) {
      throw new Error(`Cannot read host file "${FILE}": /proc/sys is not there`);
    }
    const evidence = [{ file: FILE, value: 'absent' }];
    return error('UserNamespacesDisabled', 'The kernel has no user namespaces', evidence);
  }
  const value = text.trim();
  if (!/^\d+$/.test(value)) throw new Error(`Cannot read a number from host file "${FILE}": "${value}"`);
  const message = `user.max_user_namespaces is ${value}`;
  const evidence = [{ file: FILE, value }];
  if (Number(value) < NEEDED) return error('UserNamespacesDisabled', message, evidence);
  if (Number(value) >= RECOMMENDED) return pass(message, evidence);
  const advice = `${message}; ${RECOMMENDED} or more is recommended`;
  return warning('UserNamespacesDisabled', advice, evidence);
}
