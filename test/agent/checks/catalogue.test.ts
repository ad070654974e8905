import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { CheckInputs } from '../../../agent/checks/check.ts';
import { CAUSES, CHECKS, EVIDENCE, runChecks } from '../../../agent/checks/checks.ts';
import type { Runtime } from '../../../agent/containerd/client.ts';
import { readContainerdConfig } from '../../../agent/containerd/config.ts';
import { readDistribution, rememberConfigPath } from '../../../agent/containerd/distribution.ts';
import { criStatus, fakeCri, hostOf, outcome, readingOf, sourcesOf, witnessOf } from './fake-node.ts';
import { HOSTS } from './fixture-hosts.ts';

/** These speak of what a proof showed, and there is none here. */
const OF_PROOF = ['isolation', 'limits'];

async function readingFor(name: string, release: string, handler = 'runsc'): Promise<CheckInputs> {
  const host = hostOf(name);
  const distribution = await readDistribution(host);
  const client = { serverPid: async () => 612 };
  const containerdConfig = await rememberConfigPath({ host, client, distribution, named: undefined })();
  const { runtimes } = await readContainerdConfig(host, containerdConfig, release);
  const loaded: Record<string, Runtime> = {};
  for (const [handler, { file: _, line: __, ...runtime }] of runtimes) loaded[handler] = runtime;
  const cri = fakeCri(criStatus(release, loaded));
  return readingOf(sourcesOf(name, { host, cri, handler, containerdConfig }));
}

describe('the catalogue of checks', () => {
  for (const [name, { release, handler, not }] of Object.entries(HOSTS)) {
    it(`judges ${name} under containerd ${release}`, async () => {
      const reading = await readingFor(name, release, handler);
      const { signal } = new AbortController();
      const findings = await runChecks(CHECKS, reading, { now: () => 0, signal });
      const seen = findings
        .filter(({ check, status }) => status !== 'pass' && !OF_PROOF.includes(check))
        .map((finding) => {
          const weight = finding.status === 'fail' ? ` ${finding.severity}` : '';
          const reason = 'reason' in finding ? ` ${finding.reason}` : '';
          return [finding.check, `${finding.status}${weight}${reason}`];
        });
      assert.deepEqual(Object.fromEntries(seen), not, JSON.stringify(findings, null, 1));
    });
  }

  it('has nothing to say of a proof that was not made, and speaks of one that was', async () => {
    const reading = await readingFor('kubeadm-weakened', 'v2.4.2');
    const { signal } = new AbortController();
    const without = await runChecks(EVIDENCE, reading, { now: () => 0, signal });
    assert.deepEqual(without.map(outcome), ['skipped', 'skipped', 'pass']);
    const witness = witnessOf({ flags: { network: 'host' } });
    const proven = await runChecks(EVIDENCE, reading, { now: () => 0, signal, witness });
    // The fixture's runsc is a script, which no sandbox can be seen to run.
    assert.deepEqual(proven.map(outcome), ['blocker IsolationWeakened', 'pass', 'unknown ReleaseUnknown']);
  });

  it('runs every check, causes first', () => assert.deepEqual(CHECKS, [...CAUSES, ...EVIDENCE]));

  it('names the places and the handlers that a person must know of', async () => {
    const words: readonly [fixture: string, release: string, RegExp][] = [
      ['flatcar-sysext', '1.7.27', /"\/etc\/containerd\/config.toml" line 14, .*no file .* imports/],
      ['cos-gvisor', '1.7.29', /there are "runc", "gvisor", of which "gvisor" is gVisor's: set HANDLER/],
      ['k3s-template-not-rendered', 'v2.1.5-k3s1', /config-v3.toml.tmpl" line 6, .*restart what renders it/],
    ];
    for (const [fixture, release, expected] of words) {
      const reading = await readingFor(fixture, release);
      const { signal } = new AbortController();
      const findings = await runChecks(CHECKS, reading, { now: () => 0, signal });
      assert.match(findings.find(({ check }) => check === 'handler-configured')?.message ?? '', expected);
    }
  });

  it('has one file for each check, named by its id', async () => {
    const files = await readdir(new URL('../../../agent/checks', import.meta.url));
    const ids = files
      .map((file) => file.replace('.ts', ''))
      .filter((id) => !['checks', 'check'].includes(id));
    assert.deepEqual(CHECKS.map(({ id }) => id).sort(), ids.sort());
  });
});
