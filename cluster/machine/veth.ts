import { run } from '../../hack/run.ts';
import { addressOf, CONTROL_PLANE_ADDRESS, podCidrOf } from '../plan/addresses.ts';
import type { NodeSpec } from '../plan/nodes.ts';
import type { Machine } from './machine.ts';

/** A veth pair to the control plane's bridge, with routes to the node's pods and out. */
export async function plugIn(controlPlane: Machine, machine: Machine, spec: NodeSpec): Promise<void> {
  const own = (...args: string[]) => machine.run(['ip', ...args]);
  const port = portOf(spec);
  if (!(await own('-br', 'link')).includes('eth0')) {
    await ipOf(controlPlane, 'link', 'del', port).catch(() => {}); // left by a machine that has just ended
    const peer = ['peer', 'name', 'eth0', 'netns', String(machine.pid())];
    await ipOf(controlPlane, 'link', 'add', port, 'type', 'veth', ...peer);
    // Neighbours keep an old address for a while, so it stays the same over restarts.
    const address = `02:00:00:00:00:${spec.index.toString(16).padStart(2, '0')}`;
    await own('link', 'set', 'eth0', 'address', address);
  }
  await ipOf(controlPlane, 'link', 'set', port, 'master', 'br0', 'up');
  await own('addr', 'replace', `${addressOf(spec)}/24`, 'dev', 'eth0');
  await own('link', 'set', 'eth0', 'up');
  await own('route', 'replace', 'default', 'via', CONTROL_PLANE_ADDRESS);
  await ipOf(controlPlane, 'route', 'replace', podCidrOf(spec), 'via', addressOf(spec));
}

/** A guest's TAP device on the control plane's bridge, with the route to its pods. Returns its name. */
export async function plugInTap(controlPlane: Machine, spec: NodeSpec): Promise<string> {
  const port = portOf(spec);
  const there = (await ipOf(controlPlane, '-br', 'link'))
    .split('\n')
    .some((line) => line.split(/\s+/)[0] === port);
  if (!there) await ipOf(controlPlane, 'tuntap', 'add', 'dev', port, 'mode', 'tap');
  await ipOf(controlPlane, 'link', 'set', port, 'master', 'br0', 'up');
  await ipOf(controlPlane, 'route', 'replace', podCidrOf(spec), 'via', addressOf(spec));
  return port;
}

/** Idempotent. */
export async function unplug(controlPlane: Machine, spec: NodeSpec): Promise<void> {
  await ipOf(controlPlane, 'route', 'del', podCidrOf(spec)).catch(() => {});
  await ipOf(controlPlane, 'link', 'del', portOf(spec)).catch(() => {});
}

function portOf(spec: NodeSpec): string {
  return `node${spec.index}`;
}

// `netns PID` takes a PID of the host.
function ipOf(controlPlane: Machine, ...args: string[]): Promise<string> {
  return run('nsenter', [`--target=${controlPlane.pid()}`, '--net', '--', 'ip', ...args]);
}
