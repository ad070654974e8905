import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  annotationsPassed,
  flagsInForce,
  sentryFlags,
  UNKNOWN,
  weaknessesOf,
} from '../../../lib/runsc/flags.ts';
import RELEASES from '../../fixtures/runsc-flags.json' with { type: 'json' };

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

describe('flagsInForce', () => {
  it('leaves out files and descriptors, and keeps what weakens, shortened', () => {
    const unknown = Array.from({ length: 50 }, (_, at) => [`flag-${at}`, 'x'] as const);
    const argv = '--root=/a --log=/b --log-fd=3 --platform=kvm --pod-init-config=/c --host-uds=all boot';
    const flags = sentryFlags(`runsc-sandbox ${argv}`.split(' ')) ?? new Map<string, string>();
    assert.deepEqual(Object.keys(flagsInForce(flags)), ['host-uds', 'pod-init-config', 'platform']);
    const many = flagsInForce(new Map([...unknown, ['host-uds', 'a'.repeat(1_000)]]));
    assert.equal(Object.keys(many).length, 40);
    assert.equal(many['host-uds']?.length, 100);
  });
});

describe('weaknessesOf', () => {
  const FLAGS = {
    blocker: `network=host EXPERIMENTAL-xdp=redirect:eth0 EXPERIMENTAL-xdp=tunnel:eth0 host-uds=open
      host-uds=create host-uds=all fsgofer-host-uds=true host-fifo=open
      character-device-policy=passthrough TESTONLY-unsafe-nonroot=true allow-flag-override=1`,
    warning: `network=plugin EXPERIMENTAL-xdp=ns TESTONLY-afs-syscall-panic=true
      pod-init-config=/etc/falco/pod-init.json gofer-network-namespace=host profile=true rootless=T
      ignore-cgroups=true nvproxy=true platform=ptrace net-raw=true allow-packet-socket-write=true
      allow-suid=true a-flag-of-next-year=false constructor=true`,
    nothing: `network=sandbox network=none EXPERIMENTAL-xdp=off host-uds=none host-fifo=none
      character-device-policy=emulated-only TESTONLY-unsafe-nonroot=false allow-flag-override=false
      pod-init-config= gofer-network-namespace=null platform=kvm debug=true`,
  };
  // A flag counts only in the sandbox's arguments: runsc refuses it from an annotation.
  const ANNOTATIONS = {
    blocker: `dev.gvisor.spec.rootfs.source=/var/lib/image.erofs dev.gvisor.internal.checkpoint.path=/etc
      dev.gvisor.internal.fscheckpoint.path=/etc`,
    warning: `dev.gvisor.internal.nvproxy=true dev.gvisor.internal.tpuproxy=true dev.gvisor.spec.cgroup-parent=/`,
    nothing: `dev.gvisor.internal.nvproxy=false dev.gvisor.spec.mount.data.share=pod
      dev.gvisor.internal.cpufeatures=sse2 io.kubernetes.cri.sandbox-name=pod
      dev.gvisor.flag.network=host`,
  };
  for (const [kind, table] of Object.entries({ flag: FLAGS, annotation: ANNOTATIONS }))
    for (const [severity, words] of Object.entries(table))
      for (const word of words.split(/\s+/))
        it(`judges the ${kind} ${word}: ${severity}`, () => {
          const [name = '', value = ''] = word.split('=');
          const given = new Map([[name, value]]);
          const [found] = kind === 'flag' ? weaknessesOf(given) : weaknessesOf(new Map(), given);
          assert.equal(found?.severity ?? 'nothing', severity);
        });

  it('sorts blockers first and unknown flags last', () => {
    const flags = new Map(
      Object.entries({ 'unheard-of': '1', 'net-raw': 'true', debug: 'true', network: 'host' }),
    );
    const names = weaknessesOf(flags).map(({ flag }) => flag);
    assert.deepEqual(names, ['network', 'net-raw', 'unheard-of']);
  });

  it('truncates and sanitizes values', () => {
    const [found] = weaknessesOf(new Map([['pod-init-config', `\u001b[2J${'x'.repeat(100_000)}`]]));
    assert.equal(found?.value, `\ufffd[2J${'x'.repeat(96)}`);
  });
});

describe('the flags of each gVisor', () => {
  // The output of `runsc flags`; test/integration/runtimes.test.ts compares it with the releases.
  for (const [release, flags] of Object.entries(RELEASES)) {
    it(`are known for ${release}, except those of gVisor's own tests`, () => {
      const isOwn = (flag: string) => flag.startsWith('TESTONLY-');
      const isUnknown = (flag: string) => weaknessesOf(new Map([[flag, '']]))[0]?.why === UNKNOWN;
      const unknown = flags.filter((flag) => isUnknown(flag) && !isOwn(flag));
      assert.deepEqual(unknown, []);
    });
  }
});

describe('annotationsPassed', () => {
  const HOST_UDS = 'dev.gvisor.flag.host-uds';
  const NVPROXY = 'dev.gvisor.internal.nvproxy';
  const ROOTFS = 'dev.gvisor.spec.rootfs.source';
  const ALL = [HOST_UDS, NVPROXY, ROOTFS];
  const PATTERNS: Readonly<Record<string, readonly string[]>> = {
    'dev.gvisor.*': ALL,
    '*': ALL,
    'dev.gvisor.flag.*': [HOST_UDS],
    'dev.gvisor.flag.host-uds': [HOST_UDS],
    'dev.gvisor.[f-i]*': ALL,
    'dev.gvisor.internal.*': [NVPROXY],
    'dev.gvisor.spec.*': [ROOTFS],
    '*.nvproxy': [NVPROXY],
    'dev.gvisor.spec.mount.*': [],
    'dev.gvisor.flag.debug': [],
    'dev.gvisor.flag': [],
    'dev.gvisor.*/*': [],
    '[': [],
    '': [],
  };
  for (const [pattern, passed] of Object.entries(PATTERNS))
    it(`passes ${passed.join(', ') || 'none'} by "${pattern}"`, () => {
      const found = annotationsPassed([pattern]).map(({ annotation }) => annotation);
      assert.deepEqual(
        ALL.filter((each) => found.includes(each)),
        passed,
      );
      if (passed.length === 0) assert.deepEqual(found, []);
    });
});
