import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runAll, waitFor } from '../../hack/run.ts';
import { describeGroups } from './admission-case.ts';
import { until, useAdmission } from './admission-cluster.ts';
import { ENFORCE_GROUPS } from './admission-enforce-cases.ts';
import { workload } from './admission-objects.ts';

const admission = useAdmission(['enforce']);

describeGroups(admission, ENFORCE_GROUPS);

describe('a Deployment without the runtime class', () => {
  const kubectl = (...args: string[]) => admission().cluster.kubectl(['-n', 'strict', ...args]);

  it('is warned of by kubectl, and its ReplicaSet says why there are no pods', async () => {
    const { command, args } = admission().cluster.kubectlCommand(['-n', 'strict', 'create', '-f', '-']);
    const { code, stderr } = await runAll(command, args, {
      input: JSON.stringify(workload('Deployment', { spec: { runtimeClassName: undefined } }, 'web')),
    });
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /^Warning: .*spec\.template\.spec\.runtimeClassName is not set: write runtimeClassName: gvisor\n$/,
    );
    const said = await waitFor('the event of the ReplicaSet', 30_000, async () => {
      const path = 'jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\\n"}{end}';
      const events = await kubectl('get', 'events', '--field-selector=reason=FailedCreate', '-o', path);
      return events.split('\n').find((line) => /^web-\w+ /.test(line));
    });
    assert.match(
      said,
      /^web-\w+ Error creating: pods "web-\w+-\w+" is forbidden: .*the namespace "strict" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/,
    );
  });

  it('gets its pods once it names the runtime class', async () => {
    const patch = { spec: { template: { spec: { runtimeClassName: 'gvisor' } } } };
    await kubectl('patch', 'deployment', 'web', '-p', JSON.stringify(patch));
    await waitFor('a pod of the Deployment', 30_000, async () =>
      (await kubectl('get', 'deployment', 'web', '-o', 'jsonpath={.status.updatedReplicas}')) === '1'
        ? true
        : undefined,
    );
  });
});

describe('kubectl auth can-i -A', () => {
  for (const [user, answer] of [
    ['owner', 'no'],
    ['operator', 'no'],
    ['lifter', 'yes'],
  ] as const) {
    it(`tells the ${user} "${answer}", as the policy does`, async () => {
      const words = ['auth', 'can-i', '-A', 'manage-gvisor-requirement', 'namespaces/strict', '--as', user];
      const { command, args } = admission().cluster.kubectlCommand([...words, '-n', 'strict']);
      assert.equal((await runAll(command, args)).stdout.trim(), answer);
    });
  }
});

describe('the policies', () => {
  it('have no type that the API server warns of', async () => {
    const path = '{range .items[*]}{.metadata.name} {.status.typeChecking}{"\\n"}{end}';
    const words = ['get', 'validatingadmissionpolicies'];
    const seen = await until(
      'the type check',
      async () => ({
        code: 0,
        warnings: [],
        body: 0,
        message: await admission().cluster.kubectl([...words, '-o', `jsonpath=${path}`]),
      }),
      ({ message }) =>
        message
          .trim()
          .split('\n')
          .every((line) => line.includes('{')),
    );
    assert.doesNotMatch(seen.message, /expressionWarnings/);
    assert.match(seen.message, /gvisor-ready-agent-events/);
  });
});
