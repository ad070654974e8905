/** containerd's root file, lines of handlers, and the tables of handlers by the version of the file. */
export const ROOT = '/etc/containerd/config.toml';
export const RUNSC = 'runtime_type = "io.containerd.runsc.v1"';
export const RUNC = 'runtime_type = "io.containerd.runc.v2"';
export const V1 = 'plugins.cri.containerd.runtimes';
export const V2 = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes';
export const V3 = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes';

/** A file of that version ("" for none) with runsc in that table, and runc too because 1.x needs it. */
export function file(version: string, table: string, more = ''): string {
  const first = version && `version = ${version}\n`;
  return `${more}${first}[${table}.runc]\n${RUNC}\n[${table}.runsc]\n${RUNSC}\n`;
}
