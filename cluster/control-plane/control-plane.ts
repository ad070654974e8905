import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Machine } from '../machine/machine.ts';
import ARGUMENTS from './daemons.json' with { type: 'json' };
import { type Authority, createSigningKeys } from './pki.ts';

/** Nodes are in the same /24. */
export const CONTROL_PLANE_ADDRESS = '10.89.0.1';
/** The ClusterIP of `kubernetes`. The bridge has it, since there is no kube-proxy. */
export const SERVICE_ADDRESS = '10.96.0.1';
const PKI = '/etc/kubernetes/pki';

/** Start order. */
export const CONTROL_PLANE = Object.keys(ARGUMENTS) as readonly ControlPlaneDaemon[];
export type ControlPlaneDaemon = keyof typeof ARGUMENTS;

export type ControlPlaneTools = { readonly kubernetes: string; readonly etcd: string };

export function controlPlaneOf(dir: string): Machine {
  return new Machine('control-plane', join(dir, 'control-plane'));
}

export async function setUpNetwork(controlPlane: Machine): Promise<void> {
  const ip = (...args: string[]) => controlPlane.run(['ip', ...args]);
  // Without a fixed MAC address it changes with the set of nodes, and all nodes lose the bridge.
  if (!(await ip('-br', 'link')).includes('br0'))
    await ip('link', 'add', 'br0', 'address', '02:00:00:00:01:00', 'type', 'bridge');
  await ip('addr', 'replace', `${CONTROL_PLANE_ADDRESS}/24`, 'dev', 'br0');
  await ip('addr', 'replace', `${SERVICE_ADDRESS}/32`, 'dev', 'br0');
  await ip('link', 'set', 'br0', 'up');
}

/** Keys and kubeconfigs last as long as the cluster. */
export async function writeCredentials(controlPlane: Machine, authority: Authority): Promise<void> {
  const put = async (file: string, text: string) => {
    await mkdir(dirname(controlPlane.path(file)), { recursive: true });
    await writeFile(controlPlane.path(file), text, { mode: 0o600 });
  };
  if (existsSync(controlPlane.path(`${PKI}/done`))) return;
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'];
  const server = await authority.issue(
    'kube-apiserver',
    [],
    [...names, '127.0.0.1', CONTROL_PLANE_ADDRESS, SERVICE_ADDRESS],
  );
  const client = await authority.issue('kube-apiserver', ['system:masters']);
  const signing = await createSigningKeys();
  await put(`${PKI}/ca.crt`, authority.cert);
  await put(`${PKI}/apiserver.crt`, server.cert);
  await put(`${PKI}/apiserver.key`, server.key);
  await put(`${PKI}/kubelet-client.crt`, client.cert);
  await put(`${PKI}/kubelet-client.key`, client.key);
  await put(`${PKI}/sa.key`, signing.private);
  await put(`${PKI}/sa.pub`, signing.public);
  await put('/etc/kubernetes/audit.yaml', await readFile(join(import.meta.dirname, 'audit.yaml'), 'utf8'));
  for (const name of ['kube-controller-manager', 'kube-scheduler']) {
    await put(
      `/etc/kubernetes/${name}.kubeconfig`,
      await kubeconfig(authority, `https://${CONTROL_PLANE_ADDRESS}`, `system:${name}`),
    );
  }
  await put(`${PKI}/done`, '');
}

/** JSON lines, in the control plane's namespaces. */
export const AUDIT_LOG = '/var/log/kube-apiserver-audit.log';

/** Idempotent. */
export async function startDaemon(
  controlPlane: Machine,
  name: ControlPlaneDaemon,
  tools: ControlPlaneTools,
): Promise<void> {
  if (controlPlane.daemonPid(name) !== undefined) return;
  const bin = name === 'etcd' ? join(tools.etcd, 'etcd') : join(tools.kubernetes, name);
  // Less garbage collection: the API server needs 3.4 s of CPU time instead of 4.7 s to start, and 390 MB instead of
  // 270.
  await controlPlane.daemon(name, [bin, ...ARGUMENTS[name]], { GOGC: '400' });
}

/** YAML. */
export async function kubeconfig(
  authority: Authority,
  server: string,
  user: string,
  groups: readonly string[] = [],
): Promise<string> {
  const { cert, key } = await authority.issue(user, groups);
  const data = (text: string) => Buffer.from(text).toString('base64');
  return `apiVersion: v1
kind: Config
current-context: gvisor-ready
contexts: [{name: gvisor-ready, context: {cluster: gvisor-ready, user: "${user}"}}]
clusters: [{name: gvisor-ready, cluster: {server: "${server}", certificate-authority-data: ${data(authority.cert)}}}]
users: [{name: "${user}", user: {client-certificate-data: ${data(cert)}, client-key-data: ${data(key)}}}]
`;
}
