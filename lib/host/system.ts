import { mem } from 'systeminformation/lib/memory.js';
import type { Host } from './host.ts';

/** A fact that could not be had is absent. */
export type Facts = {
  readonly kernel?: string | undefined;
  readonly containerd?: string;
  /** For example "release-20260223.0"; undefined if the program names none. */
  readonly runsc?: string | undefined;
  readonly platform?: string;
  /** Such as "580.105.08"; undefined without a driver. */
  readonly nvidiaDriver?: string | undefined;
  /** Whether pods with a GPU start; undefined if unknown. */
  readonly gpu?: 'true' | 'false' | undefined;
  readonly distribution?: string;
  readonly [hardware: string]: string | undefined;
};

export async function readSystemFacts(host: Host): Promise<Facts> {
  // systeminformation.cpu() would start a shell, and the agent executes nothing.
  const [cpu, memory, release, kernel] = await Promise.all([
    host.readText('/proc/cpuinfo').catch(() => undefined),
    mem().catch(() => undefined),
    host.readText('/etc/os-release').catch(() => undefined),
    host.readText('/proc/sys/kernel/osrelease').catch(() => undefined),
  ]);
  return {
    architecture: process.arch,
    kernel: kernel?.trim(),
    os: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release ?? '')?.[1],
    ...(cpu === undefined ? {} : processorOf(cpu)),
    memoryBytes: memory && String(memory.total),
  };
}

/** The kubelet reports it in `nodeInfo.bootID`. */
export async function readBootId(host: Host): Promise<string> {
  const path = '/proc/sys/kernel/random/boot_id';
  const id = (await host.readText(path))?.trim() ?? '';
  if (id === '') throw new Error(`Host file "${path}" is absent or empty`);
  return id;
}

/** Source: https://man7.org/linux/man-pages/man5/proc_cpuinfo.5.html; on arm64 it names no model. */
function processorOf(text: string): Facts {
  const model = /^model name\s*: (.+)$/m.exec(text)?.[1];
  return {
    cpu: model?.replaceAll(/\s+/g, ' '),
    cores: String(text.match(/^processor\s*:/gm)?.length ?? 0),
    virtualization: String(offersVirtualization(text)),
  };
}

/** Shown on x86_64 alone. */
export function offersVirtualization(cpuinfo: string): boolean {
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo);
}
