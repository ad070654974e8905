import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { checkGpu, judgeDriver } from '../../../agent/checks/gpu.ts';
import { parseRunscRelease } from '../../../lib/runsc/program.ts';
import DRIVERS from '../../fixtures/gpu-drivers.json' with { type: 'json' };
import { TEXT_PAGES } from '../../lib/host/fake-process.ts';
import { fakeRunsc } from '../../lib/runsc/fake-runsc.ts';
import { criWith, type Files, inspect, outcome, sourcesWith, witnessOf } from './fake-node.ts';

const FILE = '/proc/driver/nvidia/version';
const RUNSC = '/usr/local/bin/runsc';
const RELEASE = 'release-20260817.0';
const proprietary = (version: string) =>
  `NVRM version: NVIDIA UNIX x86_64 Kernel Module  ${version}  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n`;

const nodeWith = (t: TestContext, driver: string | undefined, files: Files = {}) =>
  sourcesWith(t, {
    [RUNSC]: fakeRunsc(RELEASE),
    ...(driver === undefined ? {} : { [FILE]: driver }),
    ...files,
  });

type Case = Readonly<Record<'driver' | 'release' | 'expected' | 'message', string>> & {
  readonly flags?: Readonly<Record<string, string>>;
};

describe('judgeDriver', () => {
  for (const { driver, release, flags = {}, expected, message } of DRIVERS as readonly Case[])
    it(`judges ${driver} in "${release}" with ${JSON.stringify(flags)}: ${expected}`, () => {
      const result = judgeDriver(driver, parseRunscRelease(release), flags);
      assert.equal(outcome(result), expected);
      assert.match(result.message, new RegExp(message));
    });
});

describe('gpu', () => {
  // The first line of each as people reported it, in other projects.
  // biome-ignore format: one row a line
  const FORMS: readonly (readonly [text: string, driver: string, gpu: string | undefined])[] = [
    [proprietary('580.173.02'), '580.173.02', 'true'],
    ['NVRM version: NVIDIA UNIX aarch64 Kernel Module  535.161.07  Sat Feb 17 23:29:15 UTC 2024\n', '535.161.07', 'false'],
    ['NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build  (dvs-builder@U16-A24-9-2)  Thu Oct 10 12:15:00 UTC 2024\n', '565.57.01', 'false'],
    ['NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.58  Release Build  (portage@localhost)  Сб 29 июн 2024 14:36:22 MSK\n', '555.58.00', 'false'],
    ['NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  35.3.1  Release Build  (buildbrain@mobile-u64-6289-d7000)  Sun Mar 19 08:09:33 PDT 2023\n', '35.03.01', 'false'],
  ];
  for (const [text, driver, supported] of FORMS) {
    it(`reads ${text.slice(0, 80)}`, async (t) => {
      const { facts } = await inspect(checkGpu, await nodeWith(t, text));
      assert.deepEqual(facts, { nvidiaDriver: driver, gpu: supported });
    });
  }

  for (const text of ['', proprietary('next'), proprietary('1.2.3.4')]) {
    it(`does not know the driver in ${JSON.stringify(text.slice(0, 70))}`, async (t) => {
      const result = await inspect(checkGpu, await nodeWith(t, text));
      assert.equal(outcome(result), 'unknown GpuDriverUnknown');
      assert.deepEqual(result.facts, { nvidiaDriver: undefined, gpu: undefined });
    });
  }

  it('is skipped without a driver, and removes what an earlier one left', async (t) => {
    const result = await inspect(checkGpu, await nodeWith(t, undefined));
    assert.deepEqual([outcome(result), result.message], ['skipped', 'There is no NVIDIA driver']);
    assert.deepEqual(result.facts, { nvidiaDriver: undefined, gpu: undefined });
  });

  it('names the files, and the driver where it is not known whether it works', async (t) => {
    const sources = await nodeWith(t, proprietary('580.173.02'), {
      [RUNSC]: fakeRunsc('release-20990101.0'),
    });
    const { facts, evidence } = await inspect(checkGpu, sources);
    assert.deepEqual(facts, { nvidiaDriver: '580.173.02', gpu: undefined });
    const seen = [
      { file: FILE, value: '580.173.02' },
      { file: RUNSC, value: 'release-20990101.0' },
    ];
    assert.deepEqual(evidence, seen);
  });

  it('judges the program and the flags of the sandbox, not those on the disk', async (t) => {
    const files = {
      [RUNSC]: fakeRunsc('release-20260223.0'),
      '/usr/local/bin/gvisor-bin/gvisor_sentry': fakeRunsc(RELEASE, TEXT_PAGES + 1),
    };
    const sources = await nodeWith(t, proprietary('595.71.05'), files);
    const flags = { 'nvproxy-allow-unsupported-driver': 'true' };
    const result = await inspect(checkGpu, sources, witnessOf({ textPages: TEXT_PAGES + 1, flags }));
    assert.deepEqual([outcome(result), result.facts?.gpu], ['pass', 'true']);
    const other = await inspect(checkGpu, sources, witnessOf({ textPages: TEXT_PAGES + 2, flags }));
    assert.equal(outcome(other), 'unknown GpuDriverUnknown');
  });

  it('reads the flags of the configuration before there is a proof', async (t) => {
    const options = { ConfigPath: '/etc/runsc.toml', TypeUrl: 'io.containerd.runsc.v1.options' };
    const sources = await nodeWith(t, proprietary('590.48.01'), {
      [RUNSC]: fakeRunsc('release-20260520.0'),
      '/etc/runsc.toml': '[runsc_config]\nnvproxy = "true"\n',
    });
    assert.equal(outcome(await inspect(checkGpu, { ...sources, cri: criWith({ options }) })), 'pass');
    assert.equal(outcome(await inspect(checkGpu, { ...sources, cri: criWith({}) })), 'skipped');
  });
});
