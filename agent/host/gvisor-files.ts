import { findInPath, readSearchPath, type SearchPath } from './containerd-process.ts';
import { type HandlerRuntime, type HandlerSources, optionOf, readHandler } from './handler.ts';
import { DEFAULT_RUNSC_CONFIG, type RunscConfig, readRunscConfig } from './runsc-config.ts';

/** The files with which a handler starts a sandbox, all as host paths. */
export type GvisorFiles = {
  readonly runtime: HandlerRuntime;
  readonly config: RunscConfig;
  readonly searchPath: SearchPath;
  /** Where runsc is, or `undefined` when it is nowhere that the shim looks. */
  readonly runsc?: string;
};

/** Follows handler → ConfigPath → binary_name → runsc as the gVisor shim does. */
export async function readGvisorFiles(sources: HandlerSources, signal: AbortSignal): Promise<GvisorFiles> {
  const { host } = sources;
  const runtime = await readHandler(sources, signal);
  const configPath = isRuncType(runtime.runtimeType) ? '' : optionOf(runtime, 'ConfigPath');
  const config = configPath ? await readRunscConfig(host, configPath, signal) : DEFAULT_RUNSC_CONFIG;
  const searchPath = await readSearchPath(host, signal);
  const { binaryName } = config;
  const runsc = binaryName.startsWith('/')
    ? (await host.stat(binaryName)) && binaryName
    : await findInPath(host, searchPath.path, binaryName);
  return { runtime, config, searchPath, ...(runsc !== undefined && { runsc }) };
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
