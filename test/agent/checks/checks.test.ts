import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Check, CheckInputs, Sources } from '../../../agent/checks/check.ts';
import { CAUSE_CHECKS, EVIDENCE_CHECKS, runChecks } from '../../../agent/checks/checks.ts';
import { REPO } from '../../../hack/paths.ts';
import { pass, skip } from '../../../lib/checks/finding.ts';
import { readContainerdConfig } from '../../../lib/containerd/config.ts';
import { readDistribution, rememberConfigPath } from '../../../lib/containerd/distribution.ts';
import { criStatus, failedCall, fakeCri, inputsOf, outcome, sourcesOf, witnessOf } from './fake-node.ts';
import { type FixtureHost, HOSTS, type HostName, hostOf } from './fixture-hosts.ts';

const CHECKS = [...CAUSE_CHECKS, ...EVIDENCE_CHECKS];

const { signal } = new AbortController();
/** Checks of what most nodes do not have. */
const OPTIONAL = ['gpu', 'kvm'];
const OPTIONS = { now: () => 0, signal, timeoutMs: 600_000 };

/** By check, those that do not pass. */
function outcomesOf({ notLoaded, without, outcomes }: FixtureHost): Readonly<Record<string, string>> {
  return {
    ...(notLoaded && {
      'handler-configured': `error ${notLoaded}`,
      'handler-loaded': 'error HandlerNotLoaded',
      'handler-current': 'skipped',
      'handler-runtime': 'skipped',
      network: 'skipped',
      containers: 'skipped',
      'runsc-config': 'skipped',
    }),
    ...(without === 'programs' && {
      shim: 'unknown CheckFailed',
      runsc: 'unknown CheckFailed',
      'runsc-release': 'skipped',
      sidecars: 'skipped',
    }),
    ...(without === 'releases' && {
      'runsc-release': 'unknown ReleaseUnknown',
      sidecars: 'unknown ReleaseUnknown',
    }),
    ...outcomes,
  };
}

/** The inputs of a fixture whose containerd has loaded the files on disk. */
async function inputsFor(name: HostName, release: string, handler = 'runsc'): Promise<CheckInputs> {
  const host = hostOf(name);
  const distribution = await readDistribution(host);
  const client = { serverPid: async () => 612 };
  const containerdConfig = await rememberConfigPath({ host, client, distribution, named: undefined })();
  const { runtimes } = await readContainerdConfig(host, containerdConfig, release);
  const loaded = [...runtimes].map(([id, { file: _, line: __, ...runtime }]) => [id, runtime] as const);
  const cri = fakeCri(criStatus(release, Object.fromEntries(loaded)));
  return inputsOf(sourcesOf(name, { host, cri, handler, containerdConfig }));
}

type Judged = Readonly<Record<'host' | 'check' | 'seen' | 'expected' | 'message', string>>;

/** A line for each check and difference between what it sees and what is expected of it. */
function differences(all: readonly Judged[]): string {
  // A check that sees nothing on any host is new, and left to its own test.
  const seesNothing = ({ seen }: Judged) => seen === 'skipped' || seen === 'unknown CheckFailed';
  const checks = new Set(all.filter((each) => !seesNothing(each)).map(({ check }) => check));
  const wrong = all.filter(({ check, seen, expected }) => seen !== expected && checks.has(check));
  const groups = Map.groupBy(wrong, ({ check, seen, expected }) => `${check}: ${seen}, not ${expected}`);
  const line = (what: string, { host, message }: Judged, count: number) =>
    `${what}, on ${host} (${message}) and ${count - 1} more`;
  return [...groups]
    .map(([what, all]) => line(what, all[0] as Judged, all.length))
    .slice(0, 5)
    .join('\n');
}

describe('CHECKS', () => {
  it('judge the fixture hosts', async () => {
    const all: Judged[] = [];
    for (const [host, fixture] of Object.entries<FixtureHost>(HOSTS)) {
      if (fixture.release === undefined) continue;
      const outcomes = outcomesOf(fixture);
      const inputs = await inputsFor(host as HostName, fixture.release, fixture.handler);
      for (const finding of await runChecks(CHECKS, inputs, OPTIONS)) {
        const [{ check, message }, seen] = [finding, outcome(finding)];
        const usual = seen === 'skipped' && OPTIONAL.includes(check) ? seen : 'pass';
        all.push({ host, check, seen, expected: outcomes[check] ?? usual, message });
      }
    }
    assert.equal(differences(all), '');
  });

  it('skip the evidence of a missing proof, and judge that of a new one', async () => {
    const inputs = await inputsFor('kubeadm-weakened', 'v2.4.2');
    const without = await runChecks(EVIDENCE_CHECKS, inputs, OPTIONS);
    assert.deepEqual(without.map(outcome), ['skipped', 'pass', 'pass', 'skipped', 'pass', 'skipped']);
    const witness = witnessOf({ flags: { network: 'host' } });
    const proven = await runChecks(EVIDENCE_CHECKS, inputs, { ...OPTIONS, witness });
    // The fixture's runsc is a script, which no sandbox can run.
    const expected = [
      'blocker IsolationWeakened',
      'pass',
      'pass',
      'pass',
      'unknown ReleaseUnknown',
      'skipped',
    ];
    assert.deepEqual(proven.map(outcome), expected);
  });

  const MESSAGES: readonly (readonly [fixture: HostName, release: string, RegExp])[] = [
    ['flatcar-sysext', '1.7.27', /"\/etc\/containerd\/config.toml" line 14, .*no file .* imports/],
    ['cos-gvisor', '1.7.29', /there are "runc", "gvisor", of which "gvisor" is gVisor's: set HANDLERS/],
    ['k3s-template-not-rendered', 'v2.1.5-k3s1', /v3.toml.tmpl" line 6, .*restart k3s, RKE2 or MicroK8s/],
  ];
  for (const [fixture, release, message] of MESSAGES) {
    it(`give a remedy on ${fixture}`, async () => {
      const findings = await runChecks(CAUSE_CHECKS, await inputsFor(fixture, release), OPTIONS);
      assert.match(findings.find(({ check }) => check === 'handler-configured')?.message ?? '', message);
    });
  }

  it('have a file each', async () => {
    const directories = ['agent/checks', 'lib/checks'].map((each) => readdir(join(REPO, each)));
    const files = (await Promise.all(directories)).flat();
    const ids = files.filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -3));
    const expected = ids.filter((id) => !['check', 'checks', 'finding'].includes(id)).sort();
    const sorted = CHECKS.map(({ id }) => id).sort();
    assert.deepEqual(sorted, expected);
  });

  it('are required if a setting says so, and isolation always', () => {
    const requiredWith = (changes: Partial<Sources>) =>
      CHECKS.flatMap(({ id, required }) => (required?.(sourcesOf('', changes)) ? id : []));
    assert.deepEqual(requiredWith({}), ['isolation']);
    const all = requiredWith({ requireLimits: true, minRunscRelease: '20240325.0' });
    assert.deepEqual(all, ['isolation', 'limits', 'runsc-release']);
  });
});

const inputs = inputsOf(sourcesOf('kubeadm-ready'));

function check(id: string, inspect: Check['inspect']): Check {
  return { id, title: id, inspect };
}

describe('runChecks', () => {
  it('returns a finding with its duration', async () => {
    let time = 0;
    const now = () => (time += 5);
    const checks = [check('a', () => Promise.resolve(pass('fine')))];
    assert.deepEqual(await runChecks(checks, inputs, { now, signal }), [
      { check: 'a', status: 'pass', message: 'fine', evidence: [], durationMs: 5 },
    ]);
  });

  it('makes errors unknown, with their causes in one line', async () => {
    const cause = new Error('EACCES');
    const checks = [
      check('a', () => Promise.reject(new Error('Cannot\nread', { cause }))),
      check('b', () => {
        throw new Error('at once');
      }),
      check('c', () => Promise.reject(failedCall('Version'))),
      check('d', () => Promise.reject(failedCall('Version', 'timeout'))),
      check('e', () => Promise.resolve(pass('fine'))),
    ];
    const findings = await runChecks(checks, inputs, OPTIONS);
    const message = "containerd's Version: connect ECONNREFUSED /run/containerd/containerd.sock";
    const seen = findings.map((finding) => `${outcome(finding)}: ${finding.message}`);
    assert.deepEqual(seen, [
      'unknown CheckFailed: Cannot read: EACCES',
      'unknown CheckFailed: at once',
      `unknown ContainerdUnreachable: ${message}`,
      `unknown CheckTimedOut: ${message}`,
      'pass: fine',
    ]);
  });

  it('marks an unknown finding of a required check as blocking', async () => {
    const required = (id: string, inspect: Check['inspect'], needed = true) => ({
      ...check(id, inspect),
      required: () => needed,
    });
    const blind = () => Promise.reject(new Error('EACCES'));
    const checks = [
      required('a', blind),
      required('b', blind, false),
      required('c', () => Promise.resolve(skip('there is none'))),
      required('d', () => Promise.resolve(pass('fine'))),
      check('e', blind),
    ];
    const findings = await runChecks(checks, inputs, OPTIONS);
    const blocking = findings.filter((finding) => finding.status === 'unknown' && finding.blocking);
    assert.deepEqual([blocking.length, blocking[0]?.check], [1, 'a']);
  });

  it('makes a check that times out unknown', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const hanging = check('a', () => Promise.withResolvers<never>().promise);
    const running = runChecks([hanging], inputs, { ...OPTIONS, timeoutMs: 50 });
    t.mock.timers.tick(50);
    const [finding] = await running;
    assert.equal(finding && outcome(finding), 'unknown CheckTimedOut');
    assert.equal(finding?.message, 'timed out after 0.05 s');
  });

  it('rejects when its signal is aborted', async () => {
    const stop = new AbortController();
    const hanging = check('a', () => Promise.withResolvers<never>().promise);
    const running = runChecks([hanging], inputs, { ...OPTIONS, signal: stop.signal });
    stop.abort(new Error('shutting down'));
    await assert.rejects(running, /shutting down/);
    await assert.rejects(runChecks([], inputs, { ...OPTIONS, signal: stop.signal }), /shutting down/);
  });
});
