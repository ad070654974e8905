import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Machine } from '../machine/machine.ts';
import { CONTROL_PLANE_ADDRESS, SERVICE_ADDRESS } from '../plan/addresses.ts';
import { type Authority, createSigningKeys } from './pki.ts';

const PKI = '/etc/kubernetes/pki';

/** JSON lines, in the control plane's namespaces. */
export const AUDIT_LOG = '/var/log/kube-apiserver-audit.log';
const AUDIT_POLICY = '/etc/kubernetes/audit.yaml';

/** Arguments by daemon, in the order of their starts. */
const DAEMONS = [
  ['etcd', ['--data-dir=/var/lib/etcd', '--unsafe-no-fsync', '--log-level=warn']],
  [
    'kube-apiserver',
    [
      '--etcd-servers=http://127.0.0.1:2379',
      '--secure-port=443',
      '--bind-address=0.0.0.0',
      `--advertise-address=${CONTROL_PLANE_ADDRESS}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      `--tls-cert-file=${PKI}/apiserver.crt`,
      `--tls-private-key-file=${PKI}/apiserver.key`,
      `--client-ca-file=${PKI}/ca.crt`,
      `--service-account-key-file=${PKI}/sa.pub`,
      `--service-account-signing-key-file=${PKI}/sa.key`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--kubelet-client-certificate=${PKI}/kubelet-client.crt`,
      `--kubelet-client-key=${PKI}/kubelet-client.key`,
      '--kubelet-preferred-address-types=InternalIP',
      '--authorization-mode=Node,RBAC',
      '--allow-privileged',
      '--enable-admission-plugins=NodeRestriction',
      `--audit-policy-file=${AUDIT_POLICY}`,
      `--audit-log-path=${AUDIT_LOG}`,
      '--profiling=false',
    ],
  ],
  [
    'kube-controller-manager',
    [
      '--kubeconfig=/etc/kubernetes/kube-controller-manager.kubeconfig',
      `--service-account-private-key-file=${PKI}/sa.key`,
      `--root-ca-file=${PKI}/ca.crt`,
      '--use-service-account-credentials',
      '--leader-elect=false',
    ],
  ],
  ['kube-scheduler', ['--kubeconfig=/etc/kubernetes/kube-scheduler.kubeconfig', '--leader-elect=false']],
] as const satisfies readonly (readonly [name: string, args: readonly string[]])[];

export type ControlPlaneDaemon = (typeof DAEMONS)[number][0];

export const CONTROL_PLANE: readonly ControlPlaneDaemon[] = DAEMONS.map(([name]) => name);

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
  await put(AUDIT_POLICY, await readFile(join(import.meta.dirname, 'audit.yaml'), 'utf8'));
  for (const name of ['kube-controller-manager', 'kube-scheduler']) {
    await put(
      `/etc/kubernetes/${name}.kubeconfig`,
      await kubeconfig(authority, `https://${CONTROL_PLANE_ADDRESS}`, `system:${name}`),
    );
  }
  await put(`${PKI}/done`, '');
}

export function argumentsOf(daemon: ControlPlaneDaemon): readonly string[] {
  return DAEMONS.find(([name]) => name === daemon)?.[1] ?? [];
}

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
  await controlPlane.daemon(name, [bin, ...argumentsOf(name)], { GOGC: '400' });
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
