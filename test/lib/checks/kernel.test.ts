import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { addressSpaceOf, checkKernel, judgeKernel } from '../../../lib/checks/kernel.ts';
import { outcome } from '../../agent/checks/fake-node.ts';
import { tempHost } from '../host/temp-host.ts';

describe('kernel', () => {
  const KERNELS: readonly (readonly [release: string, arch: string, string])[] = [
    ['6.1.0-28-amd64', 'x64', 'pass'],
    ['5.6.0', 'arm64', 'pass'],
    ['5.10-rc1', 'x64', 'pass'],
    ['5.5.19', 'x64', 'warning KernelUnsupported'],
    ['4.14.77', 'x64', 'warning KernelUnsupported'],
    ['4.14.76', 'x64', 'error KernelUnsupported'],
    ['3.10.0-1160.el7.x86_64', 'x64', 'error KernelUnsupported'],
    ['6.1.0', 'riscv64', 'error KernelUnsupported'],
  ];
  for (const [release, arch, expected] of KERNELS) {
    it(`judges ${release} on ${arch}: ${expected}`, () =>
      assert.equal(outcome(judgeKernel(release, arch)), expected));
  }

  it('warns of pages and addresses with which gVisor for arm64 may not run', () => {
    const judged = (pageBytes: number, addressBits: number, arch = 'arm64') =>
      judgeKernel('6.12.0', arch, { space: { pageBytes, addressBits } });
    assert.equal(outcome(judged(4096, 48)), 'pass');
    assert.equal(outcome(judged(4096, 39, 'x64')), 'pass');
    const pages = judged(65_536, 48);
    assert.equal(outcome(pages), 'warning KernelUnsupported');
    assert.match(pages.message, /pages of 64 KiB/);
    const addresses = judged(4096, 39);
    assert.equal(outcome(addresses), 'warning KernelUnsupported');
    assert.match(addresses.message, /addresses of 39 bits/);
  });

  it('reads the sizes of a process', async () => {
    const own = addressSpaceOf(
      await readFile('/proc/self/auxv'),
      await readFile('/proc/self/maps', 'latin1'),
    );
    assert.equal(own.pageBytes, 4096);
    assert.ok(own.addressBits >= 39 && own.addressBits <= 64, String(own.addressBits));
    const auxiliary = Buffer.alloc(48);
    for (const [at, value] of [33n, 0xffff_8000_0000n, 6n, 16_384n].entries())
      auxiliary.writeBigUInt64LE(value, at * 8);
    const maps = '5500000000-5500001000 r-xp 0 0:0 0 node\n7ffc000000-7ffd000000 rw-p 0 0:0 0 [stack]\n';
    assert.deepEqual(addressSpaceOf(auxiliary, maps), { pageBytes: 16_384, addressBits: 39 });
  });

  it('throws for a release of another form', () => {
    assert.throws(() => judgeKernel('unknown', 'x64'), /Cannot tell the kernel release from "unknown"/);
  });

  it('falls back to /proc/version, and throws without it', async (t) => {
    const host = await tempHost(t, { '/proc/version': 'Linux version 6.1.0 (gcc) #1 SMP\n' });
    const result = await checkKernel(host);
    assert.deepEqual(result.evidence?.[0], { file: '/proc/version', value: '6.1.0' });
    await assert.rejects(checkKernel(await tempHost(t)), /osrelease/);
  });
});
