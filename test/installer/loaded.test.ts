import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseLoaded, pendingSettings } from '../../installer/containerd/settings.ts';
import { generationAt } from '../../installer/release/generation.ts';
import { parseToml } from '../../lib/containerd/toml.ts';

const OWN = generationAt('/usr/local/lib/gvisor/release-1-0123456789ab').shim;

/** What a containerd has loaded, as its status says it, what it would load, as it prints it, and what is pending. */
const CASES: Readonly<Record<string, [loaded: object, dump: string, pending: readonly string[]]>> = {
  'nothing, in the two spellings of 2.4.2': [
    {
      containerd: {
        defaultRuntimeName: 'runc',
        runtimes: {
          runc: { runtimeType: 'io.containerd.runc.v2', PodAnnotations: null, sandboxer: 'podsandbox' },
        },
      },
      restrictOOMScoreAdj: false,
      ignoreDeprecationWarnings: null,
      enableCRIU: null,
      stateDir: '/run/containerd',
    },
    `restrict_oom_score_adj = false
ignore_deprecation_warnings = []
[containerd]
default_runtime_name = "runc"
[containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
pod_annotations = []
sandboxer = ""`,
    [],
  ],
  'the length of a line, which 1.7 spells in another way': [
    { maxContainerLogSize: 16384 },
    'max_container_log_line_size = 4096',
    ['max_container_log_line_size'],
  ],
  'a list that was empty': [
    { ignoreDeprecationWarnings: null },
    'ignore_deprecation_warnings = ["x"]',
    ['ignore_deprecation_warnings'],
  ],
  'an option of runc': [
    { containerd: { runtimes: { runc: { options: { SystemdCgroup: true } } } } },
    '[containerd.runtimes.runc.options]\nSystemdCgroup = false',
    ['containerd.runtimes.runc.options.SystemdCgroup'],
  ],
  'a handler that is gone': [
    { containerd: { runtimes: { kata: { runtimeType: 'io.containerd.kata.v2' } } } },
    '[containerd]\nruntimes = {}',
    ['containerd.runtimes.kata.runtimetype'],
  ],
  'nothing but handlers of this program': [
    { containerd: { runtimes: { runsc: { runtimePath: '/opt/shim' }, 'runsc-kvm': { runtimePath: OWN } } } },
    `[containerd.runtimes.runsc-canary]\nruntime_path = "${OWN}"`,
    [],
  ],
  'nothing but what 1.7 makes of its deprecated settings': [
    {
      containerd: {
        defaultRuntimeName: 'default',
        defaultRuntime: { runtimeType: 'io.containerd.runc.v2' },
        runtimes: { default: { runtimeType: 'io.containerd.runc.v2' } },
      },
      registry: { auths: { 'https://r': { username: 'u' } }, configs: { r: { auth: { username: 'u' } } } },
    },
    `[containerd]
default_runtime_name = "runc"
[containerd.default_runtime]
runtime_type = "io.containerd.runc.v2"
[registry.auths."https://r"]
username = "u"`,
    [],
  ],
  'a mirror of a registry': [
    { registry: { mirrors: null } },
    '[registry.mirrors."docker.io"]\nendpoint = ["http://x"]',
    ['registry.mirrors.docker.io.endpoint'],
  ],
};

describe('pendingSettings', () => {
  for (const [what, [loaded, dump, pending]] of Object.entries(CASES))
    it(`tells ${what}`, () => {
      const now = parseLoaded(JSON.stringify(loaded));
      assert.deepEqual(pendingSettings(now, parseToml(dump, ''), 'runsc'), pending);
    });

  it('quotes nothing of a status that is not JSON', () => {
    assert.throws(() => parseLoaded('{"password": "secret"'), /^Error: containerd's status carries no conf/);
  });
});
