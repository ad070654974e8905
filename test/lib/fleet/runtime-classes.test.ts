import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ClassNeeds, judgeClasses, type RuntimeClass } from '../../../lib/fleet/runtime-classes.ts';

const READY = 'gvisor.node-restriction.kubernetes.io/ready';
const TAINT = 'gvisor.node-restriction.kubernetes.io/not-ready';

function classOf(name: string, handler: string, nodeSelector: Readonly<Record<string, string>> = {}) {
  return { metadata: { name }, handler, scheduling: { nodeSelector } } satisfies RuntimeClass;
}
const MAIN = classOf('gvisor', 'runsc', { [READY]: 'true' });
const POOL = classOf('gvisor', 'runsc', { 'example.org/gvisor': 'true' });
const tolerating = (key: string, effect: string) => {
  return { ...POOL, scheduling: { ...POOL.scheduling, tolerations: [{ key, effect }] } };
};
const NEEDS: ClassNeeds = { handlers: ['runsc'], taints: false, installed: [], named: [], seen: new Set() };
const KVM: Partial<ClassNeeds> = { handlers: ['runsc', 'runsc-kvm'] };

describe('RuntimeClasses as guards', () => {
  for (const [what, classes, needs, faults] of [
    ['that of the manifests', [MAIN], {}, ''],
    ['none', [], {}, 'gvisor absent'],
    ['none, of a handler of another name', [], { handlers: ['sandbox'] }, 'sandbox absent'],
    ['one of another name', [classOf('sandboxed', 'runsc', { [READY]: 'true' })], {}, ''],
    ['another handler', [classOf('gvisor', 'runc', { [READY]: 'true' })], {}, 'gvisor unproven'],
    ['no selector', [classOf('gvisor', 'runsc')], {}, 'gvisor unscoped'],
    ['a label that says "false"', [classOf('gvisor', 'runsc', { [READY]: 'false' })], {}, 'gvisor unscoped'],
    [
      "the label of another handler's nodes",
      [MAIN, classOf('gvisor-kvm', 'runsc-kvm', { [READY]: 'true' })],
      KVM,
      'gvisor-kvm unscoped',
    ],
    [
      'an additional handler',
      [MAIN, classOf('gvisor-kvm', 'runsc-kvm', { [`${READY}-runsc-kvm`]: 'true' })],
      KVM,
      '',
    ],
    [
      'a handler that is proven no longer, on its own nodes',
      [MAIN, classOf('gvisor-kvm', 'runsc-kvm', { [`${READY}-runsc-kvm`]: 'true' })],
      {},
      '',
    ],
    ['a pool without a taint', [POOL], {}, 'gvisor unscoped'],
    ['a pool with a taint', [POOL], { taints: true }, ''],
    [
      'a pool whose taint it tolerates',
      [tolerating(TAINT, 'NoSchedule')],
      { taints: true },
      'gvisor unscoped',
    ],
    ['a pool, tolerating everything', [tolerating('', '')], { taints: true }, 'gvisor unscoped'],
    ['a pool, tolerating something else', [tolerating('example.org/gpu', '')], { taints: true }, ''],
    ['a class of somebody else', [MAIN, classOf('plain', 'runc')], {}, ''],
    [
      'a class of somebody else that pods may name',
      [MAIN, classOf('plain', 'runc')],
      { named: ['gvisor', 'plain'] },
      'plain unproven',
    ],
    [
      'one that pods may name, and that is gone',
      [MAIN],
      { named: ['gvisor', 'gvisor-gpu'] },
      'gvisor-gpu absent',
    ],
    ['one that came with the agents, and is gone', [MAIN], { installed: ['gvisor', 'kvm'] }, 'kvm absent'],
    ['none, and one that came with the agents', [], { installed: ['sandboxed'] }, 'sandboxed absent'],
    ['one that was there before', [MAIN], { seen: new Set(['gvisor', 'gvisor-gpu']) }, 'gvisor-gpu absent'],
  ] as const satisfies readonly (readonly [string, readonly RuntimeClass[], Partial<ClassNeeds>, string])[])
    it(`with ${what}: ${faults || 'sound'}`, () => {
      const found = judgeClasses(classes, { ...NEEDS, ...needs }).faults;
      assert.equal(found.map(({ name, effect }) => `${name} ${effect}`).join(), faults);
    });
});
