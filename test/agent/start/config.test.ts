import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Config, parseConfig } from '../../../agent/start/config.ts';
import { parseDuration } from '../../../lib/base/settings.ts';
import SETTINGS from '../../../lib/fleet/agent-settings.json' with { type: 'json' };

const POD_UID = '9fd9a4de-0c6b-4a4e-9ae2-6f8d0a5c3b11';
const DEFAULTS: Config = {
  nodeName: 'node-1',
  hostRoot: '/',
  handler: 'runsc',
  additionalHandlers: [],
  proofIntervalMs: 600_000,
  confirmMs: 500,
  graceMs: 60_000,
  criSocket: undefined,
  containerdConfig: undefined,
  minRunscRelease: undefined,
  podUid: undefined,
  apiServer: undefined,
  listen: { host: '::', port: 9477 },
  logLevel: 'info',
  publish: [],
  requireLimits: false,
  forbidFlagOverride: false,
  expectGvisor: false,
  taint: false,
  evidence: true,
};

function parsed(env: Record<string, string>, inCluster = false): Config {
  const { config, problems } = parseConfig(env, { hostname: 'Node-1', inCluster });
  assert.deepEqual(problems, []);
  return config;
}

function problemsOf(env: Record<string, string>): readonly string[] {
  return parseConfig(env, { hostname: 'node-1', inCluster: false }).problems;
}

describe('parseConfig', () => {
  it('has defaults', () => assert.deepEqual(parsed({}), DEFAULTS));

  it('treats blank as unset', () => {
    const blank = Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, '  ']));
    assert.deepEqual(parsed(blank), DEFAULTS);
  });

  it('publishes to the API in a cluster by default', () => {
    const pod = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443', POD_UID };
    assert.deepEqual(parsed(pod, true).publish, ['node', 'events']);
    assert.deepEqual(parsed(pod, true).apiServer, { host: 'fd00::1', port: '6443' });
    assert.deepEqual(parsed({ ...pod, PUBLISH: '' }, true).publish, []);
    assert.deepEqual(parsed({ ...pod, PUBLISH: ' node' }, true).publish, ['node']);
    assert.deepEqual(parsed({ ...pod, PUBLISH: 'node, events' }, true).publish, ['node', 'events']);
  });

  it('has no API server without a service account', () => {
    assert.equal(parsed({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }).apiServer, undefined);
  });

  const good: readonly [string, string, Partial<Config>][] = [
    ['NODE_NAME', 'ip-10-0-0-1.eu.internal', { nodeName: 'ip-10-0-0-1.eu.internal' }],
    ['HOST_ROOT', '/host', { hostRoot: '/host' }],
    ['POD_UID', POD_UID, { podUid: POD_UID }],
    ['CRI_SOCKET', 'unix:///run/k3s/containerd.sock', { criSocket: '/run/k3s/containerd.sock' }],
    ['CONTAINERD_CONFIG', '/etc/k0s/containerd.toml', { containerdConfig: '/etc/k0s/containerd.toml' }],
    ['HANDLERS', 'gvisor-kvm', { handler: 'gvisor-kvm' }],
    ['HANDLERS', 'runsc, runsc-kvm,debug', { handler: 'runsc', additionalHandlers: ['runsc-kvm', 'debug'] }],
    ['PROOF_INTERVAL', '24h', { proofIntervalMs: 86_400_000 }],
    ['CONFIRM_DELAY', '0s', { confirmMs: 0 }],
    ['UNKNOWN_GRACE', '1h', { graceMs: 3_600_000 }],
    ['MIN_RUNSC_RELEASE', '20240325.0', { minRunscRelease: '20240325.0' }],
    ['MIN_RUNSC_RELEASE', 'release-20240325', { minRunscRelease: '20240325' }],
    ['LISTEN_ADDRESS', '127.0.0.1:80', { listen: { host: '127.0.0.1', port: 80 } }],
    ['LISTEN_ADDRESS', '[::1]:9477', { listen: { host: '::1', port: 9477 } }],
    ['LISTEN_ADDRESS', 'fd00::5:9477', { listen: { host: 'fd00::5', port: 9477 } }],
    ['LOG_LEVEL', 'silent', { logLevel: 'silent' }],
    ['TAINT', 'on', { taint: true }],
    ['REQUIRE_LIMITS', 'on', { requireLimits: true }],
    ['FORBID_FLAG_OVERRIDE', 'on', { forbidFlagOverride: true }],
    ['EXPECT_GVISOR', 'on', { expectGvisor: true }],
    ['EVIDENCE', 'off', { evidence: false }],
  ];
  for (const [name, value, expected] of good) {
    it(`${name}="${value}"`, () => assert.deepEqual(parsed({ [name]: value }), { ...DEFAULTS, ...expected }));
  }

  it('opens no port with LISTEN_ADDRESS=off', () => {
    assert.equal(parsed({ LISTEN_ADDRESS: 'off' }).listen, undefined);
  });

  const bad: readonly [string, string, RegExp][] = [
    ['NODE_NAME', 'Node_1', /is not the name of a node$/],
    ['NODE_NAME', 'a/../b', /is not the name of a node$/],
    ['NODE_NAME', `a${'b'.repeat(253)}`, /is not the name of a node$/],
    ['HOST_ROOT', 'host', /is not an absolute path$/],
    ['CRI_SOCKET', 'tcp://127.0.0.1:1', /is not an absolute path$/],
    ['HANDLERS', 'run sc', /is not the name of a handler, or several with commas$/],
    ['HANDLERS', 'runsc,', /is not the name of a handler/],
    ['HANDLERS', 'runsc,kvm,runsc', /names one twice$/],
    ['HANDLERS', `runsc,${'k'.repeat(52)}`, /has more than 51 characters$/],
    ['HANDLERS', 'a,b,c,d,e,f,g,h,i', /names more than 8 handlers$/],
    ['PROOF_INTERVAL', '9s', /is not between 10 s and 86400 s$/],
    ['PROOF_INTERVAL', `${'9'.repeat(400)}h`, /is not between 10 s and 86400 s$/],
    ['PROOF_INTERVAL', '10', /is not a duration such as 500ms, 30s, 10m or 1h$/],
    ['CONFIRM_DELAY', '61s', /is not between 0 s and 60 s$/],
    ['UNKNOWN_GRACE', '61m', /is not between 0 s and 3600 s$/],
    ['MIN_RUNSC_RELEASE', 'latest', /is not a gVisor release such as 20240325.0$/],
    ['LISTEN_ADDRESS', '9477', /is not \[address\]:port or off$/],
    ['LISTEN_ADDRESS', ':65536', /is not \[address\]:port or off$/],
    ['LISTEN_ADDRESS', '[::1:9477', /is not \[address\]:port or off$/],
    ['LISTEN_ADDRESS', 'some where:9477', /is not \[address\]:port or off$/],
    ['LOG_LEVEL', 'loud', /is not trace, debug, info, warn, error or silent$/],
    ['PUBLISH', 'nodes', /is not node, or node,events, or empty$/],
    ['TAINT', 'true', /is not on or off$/],
  ];
  for (const [name, value, expected] of bad) {
    it(`rejects ${name}="${value.slice(0, 30)}"`, () => {
      const problems = problemsOf({ [name]: value });
      assert.equal(problems.length, 1);
      assert.match(problems[0] ?? '', expected);
      assert.ok(problems[0]?.startsWith(`${name}="`));
    });
  }

  it('rejects unknown destinations, and events without node', () => {
    const [none, ...more] = problemsOf({ PUBLISH: 'node', POD_UID });
    assert.match(none ?? '', /^PUBLISH="node" needs a cluster: run in a pod that has a service account$/);
    assert.deepEqual(more, []);
    const anonymous = problemsOf({ PUBLISH: 'node' }).join();
    assert.match(anonymous, /POD_UID is not set: the DaemonSet must pass metadata.uid/);
    assert.match(
      problemsOf({ PUBLISH: 'events' }).join(),
      /^PUBLISH="events" is not node, or node,events, or empty/,
    );
  });

  it('reports all problems', () => {
    const last = new Map(bad.map(([name, value]) => [name, value]));
    const named = problemsOf(Object.fromEntries(last)).map((problem) => problem.split('=')[0]);
    assert.deepEqual(named.sort(), [...last.keys()].sort());
  });
});

describe('parseDuration', () => {
  const table: readonly [string, number | undefined][] = [
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5s', 1_500],
    ['', undefined],
    ['10', undefined],
    ['s', undefined],
    ['-1s', undefined],
    ['1 s', undefined],
    ['1d', undefined],
    ['1m30s', 90_000],
    ['30s1', undefined],
  ];
  for (const [text, expected] of table) {
    it(`"${text}" is ${expected}`, () => assert.equal(parseDuration(text), expected));
  }
});
