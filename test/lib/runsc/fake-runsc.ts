import { TEXT_PAGES } from '../host/fake-process.ts';

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const PAGE_BYTES = 4096;
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** A loaded segment of a program; `flags`: 1 is code, 2 may be written, 4 may be read. */
export type Segment = { readonly from: number; readonly bytes: number; readonly flags: number };

/** The header of a 64-bit little-endian ELF program for this machine, with these segments. */
export function elfHeader(segments: readonly Segment[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES + segments.length * SEGMENT_BYTES);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(MACHINES[process.arch] ?? 0, 18);
  header.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  header.writeUInt16LE(SEGMENT_BYTES, 54);
  header.writeUInt16LE(segments.length, 56);
  for (const [index, { from, bytes, flags }] of segments.entries()) {
    const at = HEADER_BYTES + index * SEGMENT_BYTES;
    header.writeUInt32LE(1, at);
    header.writeUInt32LE(flags, at + 4);
    header.writeBigUInt64LE(BigInt(from), at + 16);
    header.writeBigUInt64LE(BigInt(bytes), at + 32);
    header.writeBigUInt64LE(BigInt(bytes), at + 40);
  }
  return header;
}

/** A program of gVisor with this release and this many pages of code. */
export function fakeRunsc(release = 'release-20260223.0', pages = TEXT_PAGES): { readonly program: Buffer } {
  const code = { from: 0x400000, bytes: pages * PAGE_BYTES - 100, flags: 5 };
  const texts = Buffer.from(`\0runsc version %s\n\0${release}\0spec: %s\n\0`);
  return { program: Buffer.concat([elfHeader([code]), texts]) };
}

/** containerd's configuration with the handler runsc. */
export const HANDLER_TOML = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
runtime_type = 'io.containerd.runsc.v1'
`;

/** The files of a node on which gVisor is installed. */
export const GVISOR_NODE_FILES = {
  '/proc/sys/kernel/osrelease': '6.8.0\n',
  '/proc/sys/user/max_user_namespaces': '96365\n',
  '/etc/containerd/config.toml': HANDLER_TOML,
  '/usr/local/bin/runsc': fakeRunsc(),
  '/usr/local/bin/containerd-shim-runsc-v1': { program: '#!/bin/sh\n' },
};
