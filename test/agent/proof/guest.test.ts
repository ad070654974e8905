import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { identifyGuest, type KernelFacts, parseGuest } from '../../../agent/proof/guest.ts';

const GVISOR = 'Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016';
const NEWER_GVISOR = 'Linux version 4.19.0-gvisor #1 SMP Sun Jan 10 15:06:54 PST 2016';
const HOST: KernelFacts = {
  version: 'Linux version 6.8.0-45-generic (buildd@lcy02) (gcc 13.2.0) #45-Ubuntu SMP PREEMPT_DYNAMIC',
  bootId: '6d0aa4a7-5e1a-4e7a-9f0f-1d6a0d6f2b11',
};
const OWN_ID = 'b3e0c5d2-0000-4b5c-8d5e-9a8b7c6d5e4f';

describe('identifyGuest', () => {
  const table: readonly [string, Partial<KernelFacts>, KernelFacts, string][] = [
    ['gVisor up to 2026-04', { version: GVISOR }, HOST, 'gvisor 4.4.0'],
    ['gVisor after it', { version: NEWER_GVISOR }, HOST, 'gvisor 4.19.0-gvisor'],
    ['gVisor without a boot id', { version: GVISOR, bootId: '' }, HOST, 'gvisor 4.4.0'],
    ['the host’s kernel', HOST, HOST, 'host 6.8.0-45-generic'],
    ['the host’s text with another boot id', { version: HOST.version }, HOST, `host 6.8.0-45-generic`],
    ['gVisor’s text with the host’s boot id', { version: GVISOR, bootId: HOST.bootId }, HOST, 'host 4.4.0'],
    ['a host named as gVisor is', { version: GVISOR }, { ...HOST, version: GVISOR }, 'host 4.4.0'],
    [
      'a real kernel 4.4.0',
      { version: 'Linux version 4.4.0 (root@build) (gcc 5.4.0) #1 SMP Tue Mar 1 2022' },
      HOST,
      'other 4.4.0',
    ],
    [
      'a virtual machine as of Kata',
      { version: 'Linux version 6.12.22 (kata@build) #1 SMP Thu Apr 10 2026' },
      HOST,
      'other 6.12.22',
    ],
    ['gVisor’s text in the middle', { version: `Linux version 6.1.0 ${GVISOR}` }, HOST, 'other 6.1.0'],
  ];
  for (const [name, guest, host, expected] of table) {
    it(`${name}: ${expected}`, () => {
      const { kernel, release } = identifyGuest({ version: '', bootId: OWN_ID, ...guest }, host);
      assert.equal(`${kernel} ${release}`, expected);
    });
  }

  const incomparable: readonly [string, KernelFacts, KernelFacts][] = [
    ['an empty guest', { version: '', bootId: '' }, HOST],
    ['garbage', { version: '\u0000\u0001 no such kernel', bootId: OWN_ID }, HOST],
    ['a guest that shows its boot id alone', { version: OWN_ID, bootId: '' }, HOST],
    ['a host without a version', { version: GVISOR, bootId: OWN_ID }, { ...HOST, version: '' }],
    ['a host without a boot id', { version: GVISOR, bootId: OWN_ID }, { ...HOST, bootId: '' }],
  ];
  for (const [name, guest, host] of incomparable) {
    it(`cannot compare ${name}`, () => {
      assert.throws(() => identifyGuest(guest, host), /^Error: Cannot compare the guest's kernel/);
    });
  }
});

describe('parseGuest', () => {
  const table: readonly [string, string, KernelFacts][] = [
    ['both files', `${GVISOR}\n${OWN_ID}\n`, { version: GVISOR, bootId: OWN_ID }],
    ['one file', `${GVISOR}\n`, { version: GVISOR, bootId: '' }],
    ['carriage returns', `${GVISOR}\r\n${OWN_ID}\r\n`, { version: GVISOR, bootId: OWN_ID }],
    ['more than asked', `${GVISOR}\n${OWN_ID}\nmore\n`, { version: GVISOR, bootId: OWN_ID }],
    ['nothing', '', { version: '', bootId: '' }],
    ['blank lines', '\n\n', { version: '', bootId: '' }],
  ];
  for (const [name, output, expected] of table) {
    it(name, () => assert.deepEqual(parseGuest(output), expected));
  }
});
