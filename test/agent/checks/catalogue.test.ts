import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { Sources } from '../../../agent/checks/catalogue.ts';
import { CAUSES, CHECKS, EVIDENCE } from '../../../agent/checks/catalogue.ts';
import { runChecks } from '../../../agent/checks/run.ts';
import type { LoadedRuntime } from '../../../agent/cri/cri.ts';
import { rememberConfigPath } from '../../../agent/host/containerd-arguments.ts';
import { readContainerdConfig } from '../../../agent/host/containerd-config.ts';
import { readDistribution } from '../../../agent/host/distribution.ts';
import { criStatus, fakeCri, hostOf, outcome, sourcesOf, witnessOf } from './fake-node.ts';

/**
 * For each fixture: the containerd release that runs there (it has loaded what is on disk, unless the files
 * would keep it from starting), and what every check says that does not pass, as `status weight? reason`.
 */
const HOSTS: Readonly<
  Record<string, { release: string; handler?: string; not: Readonly<Record<string, string>> }>
> = {
  'kubeadm-ready': { release: 'v2.4.2', not: {} },
  'debian-ready': { release: '1.7.24~ds1', not: {} },
  'k3s-ready': { release: 'v2.1.5-k3s1', not: {} },
  'rke2-ready': { release: 'v2.1.5-k3s1', not: {} },
  'k0s-ready': { release: 'v2.2.2', not: {} },
  'microk8s-ready': { release: '1.7.28', not: {} },
  'aks-symlink': {
    release: 'v2.0.7',
    not: {
      kernel: 'unknown CheckFailed',
      'user-namespaces': 'unknown CheckFailed',
      shim: 'unknown CheckFailed',
      runsc: 'unknown CheckFailed',
      'runsc-release': 'unknown NothingToJudge',
      sidecars: 'unknown NothingToJudge',
    },
  },
  'talos-ready': {
    release: 'v2.1.4',
    not: { 'runsc-release': 'unknown ReleaseUnknown', sidecars: 'unknown ReleaseUnknown' },
  },
  'kubeadm-v2-table-in-v3': {
    release: 'v2.1.5',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-unimported-drop-in': {
    release: 'v2.2.2',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-no-config': {
    release: 'v2.4.2',
    not: notLoaded('HandlerNotConfigured'),
  },
  'kubeadm-v2-root-v3-drop-in': {
    release: 'v2.2.2',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-v3-root-v2-drop-in': {
    release: 'v2.0.7',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'kubeadm-runc-in-disguise': {
    release: 'v2.4.2',
    not: {
      'handler-runtime': 'fail explains HandlerRunsRunc',
      shim: 'unknown CheckFailed',
      'runsc-config': 'unknown NothingToJudge',
    },
  },
  'kubeadm-shim-is-runc': { release: 'v2.4.2', not: { 'handler-runtime': 'fail explains HandlerRunsRunc' } },
  'kubeadm-binary-name-runc': {
    release: 'v2.4.2',
    not: {
      'handler-runtime': 'fail explains HandlerRunsRunc',
      'runsc-release': 'unknown ReleaseUnknown',
      sidecars: 'unknown ReleaseUnknown',
    },
  },
  'kubeadm-weakened': { release: 'v2.4.2', not: {} },
  'kubeadm-sidecar-missing': { release: 'v2.4.2', not: { sidecars: 'fail explains SidecarMissing' } },
  'debian-shim-missing': { release: '1.7.24~ds1', not: { shim: 'unknown CheckFailed' } },
  'debian-drop-in-replaces-section': {
    release: '1.7.24',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'debian-no-version': {
    release: '1.7.24',
    not: notLoaded('HandlerInIgnoredTable'),
  },
  'debian-unquoted-plugin': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-truncated': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-self-import': { release: '1.7.24', not: {} },
  'debian-missing-import': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-cri-disabled': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-bare-bool': {
    release: '1.7.24',
    not: { 'runsc-config': 'fail explains RunscConfigInvalid' },
  },
  'debian-v3-on-1.7': {
    release: '1.7.24',
    not: notLoaded('ContainerdConfigInvalid'),
  },
  'debian-old-kernel': {
    release: '1.7.24',
    not: {
      kernel: 'fail explains KernelUnsupported',
      'user-namespaces': 'fail explains UserNamespacesDisabled',
    },
  },
  'cos-gvisor': { release: '1.7.29', handler: 'gvisor', not: {} },
  'flatcar-sysext': { release: '1.7.27', not: notLoaded('HandlerInIgnoredTable') },
  'eks-al2023-drop-in': { release: '2.1.5', not: notLoaded('HandlerInIgnoredTable') },
  'k3s-template-not-rendered': { release: 'v2.1.5-k3s1', not: notLoaded('HandlerInIgnoredTable') },
  'bottlerocket-no-userns': {
    release: '2.1.4+bottlerocket',
    not: {
      'user-namespaces': 'fail explains UserNamespacesDisabled',
      shim: 'unknown CheckFailed',
      runsc: 'unknown CheckFailed',
      'runsc-release': 'unknown NothingToJudge',
      sidecars: 'unknown NothingToJudge',
    },
  },
  'k3s-drop-in-of-old-generation': {
    release: 'v2.1.5-k3s1',
    not: notLoaded('HandlerInIgnoredTable'),
  },
};

/** These speak of what a proof showed, and there is none here. */
const OF_PROOF = ['isolation', 'limits'];

/** What checks say when containerd has no handler, and would have none after a restart. */
function notLoaded(reason: string): Readonly<Record<string, string>> {
  const ids = ['handler-current', 'handler-runtime', 'runsc-config'];
  const nothing = Object.fromEntries(ids.map((id) => [id, 'unknown NothingToJudge']));
  return {
    ...nothing,
    'handler-configured': `fail explains ${reason}`,
    'handler-loaded': 'fail explains HandlerNotLoaded',
  };
}

async function sourcesFor(name: string, release: string, handler = 'runsc'): Promise<Sources> {
  const host = hostOf(name);
  const distribution = await readDistribution(host);
  const client = { serverPid: async () => 612 };
  const containerdConfig = await rememberConfigPath({ host, client, distribution, named: undefined })();
  const { runtimes } = await readContainerdConfig(host, containerdConfig, { release });
  const loaded: Record<string, LoadedRuntime> = {};
  for (const [handler, { file: _, line: __, ...runtime }] of runtimes) loaded[handler] = runtime;
  return sourcesOf(name, { host, cri: fakeCri(criStatus(release, loaded)), handler, containerdConfig });
}

describe('the catalogue of checks', () => {
  for (const [name, { release, handler, not }] of Object.entries(HOSTS)) {
    it(`judges ${name} under containerd ${release}`, async () => {
      const sources = await sourcesFor(name, release, handler);
      const { signal } = new AbortController();
      const findings = await runChecks(CHECKS, sources, { now: () => 0, signal });
      const seen = findings
        .filter(({ check, status }) => status !== 'pass' && !OF_PROOF.includes(check))
        .map((finding) => {
          const weight = finding.status === 'fail' ? ` ${finding.weight}` : '';
          return [finding.check, `${finding.status}${weight} ${'reason' in finding ? finding.reason : ''}`];
        });
      assert.deepEqual(Object.fromEntries(seen), not, JSON.stringify(findings, null, 1));
    });
  }

  it('has nothing to say of a proof that was not made, and speaks of one that was', async () => {
    const sources = await sourcesFor('kubeadm-weakened', 'v2.4.2');
    const { signal } = new AbortController();
    const without = await runChecks(EVIDENCE, sources, { now: () => 0, signal });
    assert.deepEqual(without.map(outcome), ['unknown NothingToJudge', 'unknown NothingToJudge', 'pass']);
    const witness = witnessOf({ flags: { network: 'host' } });
    const proven = await runChecks(EVIDENCE, { ...sources, witness }, { now: () => 0, signal });
    // The fixture's runsc is a script, which no sandbox can be seen to run.
    assert.deepEqual(proven.map(outcome), ['decides IsolationWeakened', 'pass', 'unknown ReleaseUnknown']);
  });

  it('runs every check, causes first', () => assert.deepEqual(CHECKS, [...CAUSES, ...EVIDENCE]));

  it('names the places and the handlers that a person must know of', async () => {
    const words: readonly [fixture: string, release: string, RegExp][] = [
      ['flatcar-sysext', '1.7.27', /"\/etc\/containerd\/config.toml" line 14, .*no file .* imports/],
      ['cos-gvisor', '1.7.29', /there are "runc", "gvisor", of which "gvisor" is gVisor’s: set HANDLER/],
      ['k3s-template-not-rendered', 'v2.1.5-k3s1', /config-v3.toml.tmpl" line 6, .*restart what renders it/],
    ];
    for (const [fixture, release, expected] of words) {
      const sources = await sourcesFor(fixture, release);
      const { signal } = new AbortController();
      const findings = await runChecks(CHECKS, sources, { now: () => 0, signal });
      assert.match(findings.find(({ check }) => check === 'handler-configured')?.message ?? '', expected);
    }
  });

  it('has one file for each check, named by its id', async () => {
    const files = await readdir(new URL('../../../agent/checks', import.meta.url));
    const ids = files
      .map((file) => file.replace('.ts', ''))
      .filter((id) => id !== 'catalogue' && id !== 'run');
    assert.deepEqual(CHECKS.map(({ id }) => id).sort(), ids.sort());
  });
});
