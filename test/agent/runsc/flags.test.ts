import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { annotationsPassed, sentryFlags, UNKNOWN, weaknessesOf } from '../../../agent/runsc/flags.ts';

describe('sentryFlags', () => {
  const FLAGS: readonly (readonly [string, Readonly<Record<string, string>> | undefined])[] = [
    ['runsc-sandbox --network=host --platform=kvm boot 1f', { network: 'host', platform: 'kvm' }],
    ['runsc-sandbox -net-raw --debug=false boot', { 'net-raw': 'true', debug: 'false' }],
    ['runsc-sandbox --log=/a=b boot', { log: '/a=b' }],
    ['runsc-sandbox --root= boot --network=host', { root: '' }],
    ['runsc-sandbox --root=/x positional --network=host', { root: '/x' }],
    ['runsc-sandbox --network=none --network=host boot', { network: 'host' }],
    ['runsc-sandbox', {}],
    ['gvisor-sentry-prewarmer /usr/bin/runsc runsc-sandbox --network=host boot', { network: 'host' }],
    ['/opt/gvisor-bin/gvisor-sentry-prewarmer runsc-sandbox boot', {}],
    ['gvisor-sentry-prewarmer --network=host', undefined],
    ['/pause runsc-sandbox --network=host boot', undefined],
    ['/usr/bin/runsc-sandbox boot', undefined],
    ['', undefined],
  ];
  for (const [argv, expected] of FLAGS) {
    it(`reads the flags of "${argv}"`, () => {
      const flags = sentryFlags(argv.split(' '));
      assert.deepEqual(flags && Object.fromEntries(flags), expected);
    });
  }

  it('finds no sandbox in an empty command line', () => assert.equal(sentryFlags([]), undefined));
});

describe('weaknessesOf', () => {
  const FLAGS: readonly (readonly [flag: string, value: string, 'blocker' | 'warning' | 'nothing'])[] = [
    ['network', 'host', 'blocker'],
    ['network', 'plugin', 'warning'],
    ['network', 'sandbox', 'nothing'],
    ['network', 'none', 'nothing'],
    ['EXPERIMENTAL-xdp', 'off', 'nothing'],
    ['EXPERIMENTAL-xdp', 'ns', 'warning'],
    ['EXPERIMENTAL-xdp', 'redirect:eth0', 'blocker'],
    ['EXPERIMENTAL-xdp', 'tunnel:eth0', 'blocker'],
    ['host-uds', 'open', 'blocker'],
    ['host-uds', 'create', 'blocker'],
    ['host-uds', 'all', 'blocker'],
    ['host-uds', 'none', 'nothing'],
    ['fsgofer-host-uds', 'true', 'blocker'],
    ['host-fifo', 'open', 'blocker'],
    ['host-fifo', 'none', 'nothing'],
    ['character-device-policy', 'emulated-only', 'nothing'],
    ['character-device-policy', 'passthrough', 'blocker'],
    ['TESTONLY-unsafe-nonroot', 'true', 'blocker'],
    ['TESTONLY-unsafe-nonroot', 'false', 'nothing'],
    ['TESTONLY-afs-syscall-panic', 'true', 'warning'],
    ['allow-flag-override', '1', 'blocker'],
    ['allow-flag-override', 'false', 'nothing'],
    ['pod-init-config', '/etc/falco/pod-init.json', 'warning'],
    ['pod-init-config', '', 'nothing'],
    ['gofer-network-namespace', 'host', 'warning'],
    ['gofer-network-namespace', 'null', 'nothing'],
    ['profile', 'true', 'warning'],
    ['rootless', 'T', 'warning'],
    ['ignore-cgroups', 'true', 'warning'],
    ['nvproxy', 'true', 'warning'],
    ['platform', 'ptrace', 'warning'],
    ['platform', 'kvm', 'nothing'],
    ['net-raw', 'true', 'warning'],
    ['allow-packet-socket-write', 'true', 'warning'],
    ['allow-suid', 'true', 'warning'],
    ['debug', 'true', 'nothing'],
    ['a-flag-of-next-year', 'false', 'warning'],
    ['constructor', 'true', 'warning'],
  ];
  for (const [flag, value, severity] of FLAGS) {
    it(`judges ${flag}=${value}: ${severity}`, () => {
      assert.equal(weaknessesOf(new Map([[flag, value]]))[0]?.severity ?? 'nothing', severity);
    });
  }

  it('sorts blockers first and unknown flags last', () => {
    const flags = new Map([
      ['unheard-of', '1'],
      ['net-raw', 'true'],
      ['debug', 'true'],
      ['network', 'host'],
    ]);
    assert.deepEqual(
      weaknessesOf(flags).map(({ flag }) => flag),
      ['network', 'net-raw', 'unheard-of'],
    );
  });

  it('truncates and sanitizes values', () => {
    const [found] = weaknessesOf(new Map([['pod-init-config', `\u001b[2J${'x'.repeat(100_000)}`]]));
    assert.equal(found?.value, `\ufffd[2J${'x'.repeat(96)}`);
  });

  const ANNOTATIONS: readonly (readonly [string, string, 'blocker' | 'warning' | 'nothing'])[] = [
    ['dev.gvisor.spec.rootfs.source', '/var/lib/image.erofs', 'blocker'],
    ['dev.gvisor.internal.checkpoint.path', '/etc', 'blocker'],
    ['dev.gvisor.internal.fscheckpoint.path', '/etc', 'blocker'],
    ['dev.gvisor.internal.nvproxy', 'true', 'warning'],
    ['dev.gvisor.internal.nvproxy', 'false', 'nothing'],
    ['dev.gvisor.internal.tpuproxy', 'true', 'warning'],
    ['dev.gvisor.spec.cgroup-parent', '/', 'warning'],
    ['dev.gvisor.spec.mount.data.share', 'pod', 'nothing'],
    ['dev.gvisor.internal.cpufeatures', 'sse2', 'nothing'],
    ['io.kubernetes.cri.sandbox-name', 'pod', 'nothing'],
    // A flag counts only in the sandbox's arguments: runsc refuses it from an annotation.
    ['dev.gvisor.flag.network', 'host', 'nothing'],
  ];
  for (const [annotation, value, severity] of ANNOTATIONS) {
    it(`judges the annotation ${annotation}=${value}: ${severity}`, () => {
      assert.equal(
        weaknessesOf(new Map(), new Map([[annotation, value]]))[0]?.severity ?? 'nothing',
        severity,
      );
    });
  }
});

describe('the flags of each gVisor', () => {
  // The output of `runsc flags`; test/integration/runtimes.test.ts compares it with the releases.
  const RELEASES = JSON.parse(
    readFileSync(new URL('../../fixtures/runsc-flags.json', import.meta.url), 'utf8'),
  ) as Readonly<Record<string, readonly string[]>>;
  for (const [release, flags] of Object.entries(RELEASES)) {
    it(`are known for ${release}, except those of gVisor's own tests`, () => {
      const unknown = flags.filter((flag) => weaknessesOf(new Map([[flag, '']]))[0]?.why === UNKNOWN);
      assert.deepEqual(
        unknown.filter((flag) => !flag.startsWith('TESTONLY-')),
        [],
      );
    });
  }
});

describe('annotationsPassed', () => {
  const HOST_UDS = 'dev.gvisor.flag.host-uds';
  const NVPROXY = 'dev.gvisor.internal.nvproxy';
  const ROOTFS = 'dev.gvisor.spec.rootfs.source';
  const PATTERNS: readonly (readonly [pattern: string, passed: readonly string[], not: readonly string[]])[] =
    [
      ['dev.gvisor.*', [HOST_UDS, NVPROXY, ROOTFS], []],
      ['*', [HOST_UDS, NVPROXY, ROOTFS], []],
      ['dev.gvisor.flag.*', [HOST_UDS], [NVPROXY, ROOTFS]],
      ['dev.gvisor.flag.host-uds', [HOST_UDS], [NVPROXY]],
      ['dev.gvisor.[f-i]*', [HOST_UDS, NVPROXY, ROOTFS], []],
      ['dev.gvisor.internal.*', [NVPROXY], [HOST_UDS]],
      ['dev.gvisor.spec.*', [ROOTFS], [HOST_UDS]],
      ['*.nvproxy', [NVPROXY], [HOST_UDS]],
      ['dev.gvisor.spec.mount.*', [], [HOST_UDS, NVPROXY, ROOTFS]],
      ['dev.gvisor.flag.debug', [], [HOST_UDS]],
      ['dev.gvisor.flag', [], [HOST_UDS]],
      ['dev.gvisor.*/*', [], [HOST_UDS]],
      ['[', [], [HOST_UDS]],
      ['', [], [HOST_UDS]],
    ];
  for (const [pattern, passed, not] of PATTERNS) {
    it(`passes ${passed.join(', ') || 'none'} by "${pattern}"`, () => {
      const found = annotationsPassed([pattern]).map(({ annotation }) => annotation);
      assert.deepEqual(
        passed.filter((annotation) => !found.includes(annotation)),
        [],
      );
      assert.deepEqual(
        not.filter((annotation) => found.includes(annotation)),
        [],
      );
      if (passed.length === 0) assert.deepEqual(found, []);
    });
  }
});
