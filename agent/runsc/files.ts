import { posix } from 'node:path';
import { type HandlerRuntime, type HandlerSources, optionOf, readHandler } from '../containerd/handler.ts';
import type { Host } from '../host/host.ts';
import { DEFAULT_RUNSC_CONFIG, type RunscConfig, readRunscConfig } from './config.ts';

/** The files with which a handler starts a sandbox, all as host paths. */
export type GvisorFiles = {
  readonly runtime: HandlerRuntime;
  readonly config: RunscConfig;
  /** Where programs are looked for. containerd's own PATH is not known, so what is not here may be elsewhere. */
  readonly folders: readonly string[];
  /** Where runsc is, or `undefined` when it is in none of these folders. */
  readonly runsc?: string;
};

/** Where to look for programs: the sources of a handler, and the shim that containerd was last seen to run. */
export type FileSources = HandlerSources & { readonly shim?: string };

/**
 * Where distributions and people put programs; the first ones are what systemd gives a service as its PATH.
 * Sources: https://www.freedesktop.org/software/systemd/man/systemd.exec.html#%24PATH, docs/distributions.md
 */
const FOLDERS = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
  '/opt/bin',
  '/home/containerd/usr/local/sbin',
  '/var/lib/rancher/k3s/data/current/bin',
  '/var/lib/k0s/bin',
];

/** Follows handler → ConfigPath → binary_name → runsc as the gVisor shim does. */
export async function readGvisorFiles(sources: FileSources, signal: AbortSignal): Promise<GvisorFiles> {
  const { host, shim } = sources;
  const runtime = await readHandler(sources, signal);
  const configPath = isRuncType(runtime.runtimeType) ? '' : optionOf(runtime, 'ConfigPath');
  const config = configPath ? await readRunscConfig(host, configPath, signal) : DEFAULT_RUNSC_CONFIG;
  // Last: a shim's process names the folder of a release that an upgrade may have left behind.
  const folders = [...new Set([...FOLDERS, ...(shim === undefined ? [] : [posix.dirname(shim)])])];
  const { binaryName } = config;
  const runsc = binaryName.startsWith('/')
    ? (await host.stat(binaryName)) && binaryName
    : await findProgram(host, folders, binaryName);
  return { runtime, config, folders, ...(runsc !== undefined && { runsc }) };
}

/** The first file named `name` in the folders, an executable one before any other. */
export async function findProgram(
  host: Host,
  folders: readonly string[],
  name: string,
): Promise<string | undefined> {
  let present: string | undefined;
  for (const folder of folders) {
    const path = posix.join('/', folder, name);
    // A folder that is not visible, or not readable, holds nothing that could be judged.
    const stat = await host.stat(path).catch(() => undefined);
    if (!stat || stat.kind === 'directory') continue;
    if ((stat.mode & 0o111) !== 0) return path;
    present ??= path;
  }
  return present;
}

/** Whether a runtime type is runc's: https://github.com/containerd/containerd/tree/main/cmd/containerd-shim-runc-v2 */
export function isRuncType(runtimeType: string): boolean {
  return /^io\.containerd\.(runc\.v\d+|runtime\.v1\.linux)$/.test(runtimeType);
}

/**
 * The file name of the shim that containerd looks for, or `undefined` for a type of which it makes none.
 * https://github.com/containerd/containerd/blob/v1.7.34/runtime/v2/shim/util.go
 */
export function shimName(runtimeType: string): string | undefined {
  const parts = runtimeType.split('.');
  if (runtimeType.includes('/') || parts.length < 2 || parts[0] === '') return undefined;
  return `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`;
}
