import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkKernel, judgeKernel } from '../../../lib/checks/kernel.ts';
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
