import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Host } from '../../../lib/host/host.ts';
import { parseProgram, textSegments, whyNotRunnable } from '../../../lib/host/program.ts';
import { elfHeader, type Segment } from '../runsc/fake-runsc.ts';

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
  const PROGRAMS: readonly (readonly [string, Buffer, string])[] = [
    ['x86_64', elf(62), 'x64'],
    ['aarch64', elf(183), 'arm64'],
    ['s390x', elf(22, true), 'machine 22'],
    ['a truncated ELF file', elf(62).subarray(0, 19), 'other'],
    ['a script', Buffer.from('#!/bin/sh -e\nx'), 'script'],
    ['a web page', Buffer.from('<html>404 Not Found and more text'), 'other'],
    ['nothing', Buffer.alloc(0), 'other'],
  ];
  for (const [name, start, program] of PROGRAMS) {
    it(`recognizes ${name}`, () => assert.equal(parseProgram(start), program));
  }

  it('recognizes Node as a program of this architecture', async () => {
    assert.equal(await whyNotRunnable(new Host('/'), process.execPath, 0o111), undefined);
  });
});

describe('textSegments', () => {
  const PAGE = 4096;
  const [READ_ONLY, CODE, DATA] = [4, 5, 6] as const;

  const SIZES: readonly (readonly [name: string, pages: readonly number[], ...Segment[]])[] = [
    ['whole pages of 4, 16 and 64 KiB', [6, 8, 16], { from: 0x400000, bytes: 5 * PAGE + 1, flags: CODE }],
    ['from the page in which the code begins', [2, 4, 16], { from: 0x401800, bytes: PAGE, flags: CODE }],
    [
      // Kernels before 5.10 start at the first loaded segment of any kind: 5 pages.
      'of all code segments and no data',
      [4, 8, 16, 5],
      { from: 0x400000, bytes: PAGE, flags: READ_ONLY },
      { from: 0x401000, bytes: 2 * PAGE, flags: CODE },
      { from: 0x404000, bytes: PAGE, flags: CODE },
      { from: 0x500000, bytes: 900 * PAGE, flags: DATA },
    ],
  ];
  for (const [name, pages, ...segments] of SIZES)
    it(`are ${name}`, () => {
      const sizes = [...textSegments(elfHeader(segments))];
      assert.deepEqual(
        sizes.map((size) => size / PAGE),
        pages,
      );
    });

  it('matches the kernel for this Node', async () => {
    const host = new Host('/');
    const sizes = textSegments((await host.readStart(process.execPath, PAGE)) ?? Buffer.alloc(0));
    const pages = Number((await host.readText(`/proc/${process.pid}/statm`))?.split(' ')[3]);
    assert.ok(sizes.has(pages * PAGE), `${pages} pages, ${[...sizes].map((size) => size / PAGE)}`);
  });

  const header = elfHeader([{ from: 0, bytes: PAGE, flags: CODE }]);
  const changed = (at: number, value: number) => {
    const other = Buffer.from(header);
    other[at] = value;
    return other;
  };
  const NONE: readonly (readonly [string, Buffer])[] = [
    ['a script', Buffer.from('#!/bin/sh\n'.padEnd(200))],
    ['a 32-bit program', changed(4, 1)],
    ['a big-endian program', changed(5, 2)],
    ['a truncated header', header.subarray(0, 63)],
    ['truncated segments', header.subarray(0, 100)],
    ['a program without code', elfHeader([{ from: 0, bytes: PAGE, flags: DATA }])],
    ['entries of size 0', changed(54, 0)],
    ['nothing', Buffer.alloc(0)],
  ];
  for (const [name, start] of NONE) {
    it(`is empty for ${name}`, () => assert.deepEqual([...textSegments(start)], []));
  }
});
