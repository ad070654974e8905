import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CAUSE_CHECKS, runChecks } from '../../agent/checks/checks.ts';
import { expectsGvisor, hasTraces } from '../../agent/expected.ts';
import type { Reason } from '../../lib/base/reasons.ts';
import { error, type Finding, pass, unknown } from '../../lib/checks/finding.ts';
import { criStatus, fakeCri, inputsOf, sourcesOf } from './checks/fake-node.ts';
import type { HostName } from './checks/fixture-hosts.ts';
import { finding } from './reports.ts';

/** Findings of a host whose containerd has only runc, or does not respond. */
function check(host: HostName, responds = true): Promise<readonly Finding[]> {
  const cri = fakeCri(responds ? criStatus('v2.1.5', {}) : undefined);
  const options = { now: () => 0, signal: new AbortController().signal };
  return runChecks(CAUSE_CHECKS, inputsOf(sourcesOf(host, { cri })), options);
}

const CONFIGURED = finding(pass(''), 'handler-configured');
const NOT_CONFIGURED = finding(error('HandlerNotConfigured', ''), 'handler-configured');
const IGNORED = finding(error('HandlerInIgnoredTable', ''), 'handler-configured');
const NOT_LOADED = finding(error('HandlerNotLoaded', ''), 'handler-loaded');
const SILENT = finding(unknown('ContainerdUnreachable', ''), 'handler-loaded');
const NO_PROGRAMS = ['shim', 'runsc'].map((check) => finding(unknown('CheckFailed', ''), check));
const shim = (reason: Reason) => finding(error(reason, ''), 'shim');
const NOTHING = [NOT_CONFIGURED, NOT_LOADED, ...NO_PROGRAMS];

describe('hasTraces', () => {
  for (const [host, responds, expected] of [
    ['eks-plain', true, false],
    ['gke-plain', true, false],
    ['bottlerocket-plain', true, false],
    ['gke-plain', false, undefined],
    ['kubeadm-no-config', true, true], // runsc and the shim without a handler
    ['debian-shim-missing', true, true], // the handler without programs
  ] as const)
    it(`is ${expected} on ${host} ${responds ? '' : 'while containerd does not respond'}`, async () =>
      assert.equal(hasTraces(await check(host, responds)), expected));

  for (const [what, findings, expected] of [
    ['nothing', NOTHING, false],
    ['a configured handler, while containerd is silent', [CONFIGURED, SILENT, ...NO_PROGRAMS], true],
    ['nothing on disk, while containerd is silent', [NOT_CONFIGURED, SILENT], undefined],
    ['a handler where containerd does not read it', [IGNORED, NOT_LOADED], true],
    ['a shim that is no program', [NOT_CONFIGURED, NOT_LOADED, shim('ShimNotExecutable')], true],
    ['a shim that containerd does not find', [NOT_CONFIGURED, NOT_LOADED, shim('ShimNotFound')], false],
  ] as const)
    it(`is ${expected} with ${what}`, () => assert.equal(hasTraces(findings), expected));
});

describe('expectsGvisor', () => {
  for (const [always, provenOnce, traces, expected] of [
    [false, false, false, false],
    [true, undefined, undefined, true],
    [false, true, undefined, true],
    [false, undefined, true, true],
    [false, false, undefined, undefined],
    [false, undefined, false, undefined],
  ] as const)
    it(`is ${expected} with EXPECT_GVISOR ${always}, proven once ${provenOnce}, traces ${traces}`, () =>
      assert.equal(expectsGvisor({ always, provenOnce, traces }), expected));
});
