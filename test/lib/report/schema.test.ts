import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isStatus } from '../../../lib/report/schema.ts';
import { INSTALLATIONS } from '../../agent/sample-installations.ts';
import { BROKEN, HEALTHY, HOSTILE, UNPUBLISHED } from '../../agent/text/sample-reports.ts';
import { EXPLAINED, SAMPLES } from '../../agent/text/sample-status.ts';
import { agentStatus, sandboxesOf } from '../../kubectl/fleet-objects.ts';
import { HOSTILE_HANDLERS, KVM_BROKEN, KVM_PROVEN } from '../fleet/sample-handlers.ts';

const HANGING = sandboxesOf(['x', 'ShimUnresponsive']);
const { pods: PODS } = agentStatus('node-1');

/** A report with one field changed; `path` is as in "verdict.status". */
function changed(path: string, value: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(SAMPLES.failing));
  const fields = path.split('.');
  const last = fields.pop() ?? '';
  const parent = fields.reduce((at, field) => at[field], copy);
  parent[last] = value;
  return copy;
}

describe('isStatus', () => {
  it('accepts the reports of agents', () => {
    for (const report of [
      BROKEN,
      HOSTILE,
      HEALTHY,
      UNPUBLISHED,
      EXPLAINED,
      { ...BROKEN, sandboxes: HANGING, pods: PODS },
      { ...HEALTHY, handlers: [KVM_PROVEN, KVM_BROKEN, ...HOSTILE_HANDLERS] },
      ...Object.values(INSTALLATIONS).map((installation) => ({ ...BROKEN, installation })),
      ...Object.values(SAMPLES),
    ])
      assert.equal(isStatus(JSON.parse(JSON.stringify(report))), true);
  });

  it('accepts fields, reasons and checks of a newer agent', () => {
    assert.equal(isStatus(changed('verdict.reason', 'OfTomorrow')), true);
    assert.equal(isStatus(changed('extra', {})), true);
  });

  for (const [path, value] of [
    ['node', 1],
    ['verdict', null],
    ['verdict.status', '__proto__'],
    ['evaluation.verdict', []],
    ['evaluation.durationMs', '1'],
    ['findings', {}],
    ['findings.0', null],
    ['findings.0.status', 'toString'],
    ['findings', Array(65).fill(SAMPLES.failing.findings[0])],
    ['findings.0', { ...SAMPLES.failing.findings[0], status: 'fail', reason: undefined }],
    ['findings.0', { ...SAMPLES.failing.findings[0], evidence: [{ value: 'v', file: {} }] }],
    ['proof.kind', 'constructor'],
    ['proof', { kind: 'proven', message: '', witness: { argv: {} } }],
    ['proof', { kind: 'failed', message: '' }],
    ['facts', { kernel: {} }],
    ['history', Array(129).fill(SAMPLES.failing.history[0])],
    ['history.0.at', 0],
    ['provenAt', 7],
    ['pods', null],
    ['pods', { ...PODS, at: 5 }],
    ['pods', { ...PODS, unknown: 'text' }],
    ['pods', { ...PODS, sandboxedUids: 5 }],
    ['pods', { ...PODS, weakened: [{ uid: 'a', evidence: 'e', weak: [null] }] }],
    ['pods', { ...PODS, violating: [{ uid: 'a' }] }],
    ['nodeWrites', { problem: 1 }],
    ['nodeWrites.condition', {}],
    ['installation', null],
    ['installation', { installed: ['release'] }],
    ['installation', { pending: { ...INSTALLATIONS.atWork.pending, interrupted: 'no' } }],
    ['installation', { failure: { ...INSTALLATIONS.failed.failure, step: '`reboot`' } }],
    ['handlers', {}],
    ['handlers', [null]],
    ['handlers', Array(17).fill(KVM_PROVEN)],
    ['handlers', [{ ...KVM_PROVEN, verdict: { ...KVM_PROVEN.verdict, status: 'toString' } }]],
    ['handlers', [{ ...KVM_PROVEN, proof: { kind: 'proven', message: '' } }]],
    ['sandboxes', null],
    ['sandboxes', { ...HANGING, total: -1 }],
    ['sandboxes', { ...HANGING, restart: { state: 'toString', because: [] } }],
    ['sandboxes', { ...HANGING, problems: Array(51).fill(HANGING.problems[0]) }],
    ['sandboxes', { ...HANGING, problems: [{ ...HANGING.problems[0], sandbox: '`reboot`' }] }],
    ['sandboxes', { ...HANGING, problems: [{ ...HANGING.problems[0], pids: [0.5] }] }],
  ] as const)
    it(`rejects ${path} = ${String(JSON.stringify(value)).slice(0, 40)}`, () =>
      assert.equal(isStatus(changed(path, value)), false));

  it('rejects values that are no object', () => {
    for (const value of [undefined, null, '', 1, [], {}]) assert.equal(isStatus(value), false);
  });
});
