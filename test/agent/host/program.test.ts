import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseProgram, readProgram } from '../../../agent/host/elf.ts';
import { Host } from '../../../agent/host/host.ts';

/** The first 20 bytes of an ELF program for a machine, in either byte order. */
function elf(machine: number, isBigEndian = false): Buffer {
  const start = Buffer.alloc(20);
  start.write('\x7fELF', 'latin1');
  start[4] = 2;
  start[5] = isBigEndian ? 2 : 1;
  if (isBigEndian) start.writeUInt16BE(machine, 18);
  else start.writeUInt16LE(machine, 18);
  return start;
}

describe('parseProgram', () => {
  const PROGRAMS: readonly (readonly [string, Buffer, object])[] = [
    ['x86_64', elf(62), { kind: 'elf', machine: 'x64' }],
    ['aarch64', elf(183), { kind: 'elf', machine: 'arm64' }],
    ['s390x', elf(22, true), { kind: 'elf', machine: 's390x' }],
    ['another machine', elf(999), { kind: 'elf', machine: 'machine 999' }],
    ['an ELF file cut short', elf(62).subarray(0, 19), { kind: 'other' }],
    ['a script', Buffer.from('#!/bin/sh -e\nx'), { kind: 'script', interpreter: '/bin/sh -e' }],
    ['a web page', Buffer.from('<html>404 Not Found and more text'), { kind: 'other' }],
    ['nothing', Buffer.alloc(0), { kind: 'other' }],
  ];
  for (const [name, start, program] of PROGRAMS) {
    it(`knows ${name}`, () => assert.deepEqual(parseProgram(start), program));
  }

  it('knows this Node for a program of this architecture', async () => {
    assert.deepEqual(await readProgram(new Host('/'), process.execPath), {
      kind: 'elf',
      machine: process.arch,
    });
  });
});
