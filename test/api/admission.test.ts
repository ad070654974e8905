import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { runAll, waitFor } from '../../hack/run.ts';
import { applyOverlay } from '../e2e/agents.ts';
import { INJECTS } from '../kubernetes-minor.ts';
import { assertAccepted, describeGroups } from './admission-case.ts';
import { useAdmission, waitForResponse } from './admission-cluster.ts';
import { create, PLAIN, patch, pod, remove, workload } from './admission-objects.ts';
import type { ApiResponse } from './api-user.ts';
import { CASES } from './case-groups.ts';
import { type Kind, waitForPolicies } from './wait-for-policies.ts';

const admission = useAdmission(['enforce', 'enforce-bindings', 'enforce-audit']);
const kubectl = (...args: string[]) => admission().cluster.kubectl(['-n', 'strict', ...args]);

/** Applies the base with other components, and waits until their policies are in force. */
async function change(components: readonly string[], kinds: readonly Kind[] = ['validating']): Promise<void> {
  await applyOverlay(admission().cluster, components);
  await waitForPolicies(admission(), kinds);
}

describe('with enforce-audit', () => {
  describeGroups(admission, CASES['enforce-audit']);

  it('precedes enforce, which rejects the same pod and does not affect running pods', async () => {
    const { as } = admission();
    const createPlain = create('strict', pod(PLAIN));
    const { code, message, body } = await as('admin', createPlain);
    assert.equal(code, 201, message);
    const path = `${createPlain.path}/${(body as Pod).metadata.name}`;
    await change(['enforce', 'enforce-bindings']);
    assert.match((await as('admin', createPlain)).message, /is not set: write runtimeClassName: gvisor/);
    assertAccepted(await as('admin', patch(path, { metadata: { annotations: { a: 'b' } } })));
    assertAccepted(await as('admin', remove(path)));
  });
});

describe('with enforce and enforce-bindings', () => {
  describeGroups(admission, [...CASES.enforce, ...CASES['enforce-bindings']]);

  it('kubectl warns of a Deployment without the runtime class, and events of its ReplicaSet name the cause', async () => {
    const { command, args } = admission().cluster.kubectlCommand(['-n', 'strict', 'create', '-f', '-']);
    const { code, stderr } = await runAll(command, args, {
      input: JSON.stringify(workload('Deployment', PLAIN, { name: 'web' })),
    });
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /^Warning: .*spec\.template\.spec\.runtimeClassName is not set: write runtimeClassName: gvisor\n$/,
    );
    const message = await waitFor('the event of the ReplicaSet', 30_000, async () => {
      const path = 'jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\\n"}{end}';
      const events = await kubectl('get', 'events', '--field-selector=reason=FailedCreate', '-o', path);
      return events.split('\n').find((line) => /^web-\w+ /.test(line));
    });
    assert.match(
      message,
      /^web-\w+ Error creating: pods "web-\w+-\w+" is forbidden: .*the namespace "strict" requires gVisor, and this Pod would break that: spec\.runtimeClassName is not set: write runtimeClassName: gvisor$/,
    );
  });

  for (const [user, expected] of [
    ['owner', 'no'],
    ['operator', 'no'],
    ['lifter', 'yes'],
  ] as const) {
    it(`kubectl auth can-i -A returns "${expected}" for the ${user}, like the policy`, async () => {
      const args = ['auth', 'can-i', '-A', 'manage-gvisor-requirement', 'namespaces/strict', '--as', user];
      const { command, args: argv } = admission().cluster.kubectlCommand([...args, '-n', 'strict']);
      assert.equal((await runAll(command, argv)).stdout.trim(), expected);
    });
  }

  it('the API server reports no type warnings for the policies', async () => {
    const path = 'jsonpath={range .items[*]}{.metadata.name} {.status.typeChecking}{"\\n"}{end}';
    const checked = await waitFor('the type checks', 30_000, async () => {
      const text = await kubectl('get', 'validatingadmissionpolicies', '-o', path);
      return text
        .trim()
        .split('\n')
        .every((line) => line.includes('{'))
        ? text
        : undefined;
    });
    assert.doesNotMatch(checked, /expressionWarnings/);
    assert.match(checked, /gvisor-ready-agent-events/);
  });
});

// Before Kubernetes 1.36 admission-docs.test.ts has it refused.
if (INJECTS) describe('with inject', testInject);

function testInject(): void {
  before(async () => {
    for (const kind of ['validatingadmissionpolicybinding', 'validatingadmissionpolicy'])
      await kubectl('delete', kind, 'gvisor-ready-enforce-bindings');
    await change(['enforce', 'inject'], ['validating', 'mutating']);
  });
  describeGroups(admission, CASES.inject);

  it('a Deployment without a runtime class creates pods in gVisor without a warning', async () => {
    const { as } = admission();
    const made = workload('Deployment', PLAIN, { name: 'injected' });
    assertAccepted(await as('dispatcher', create('strict', made)));
    const path = '/api/v1/namespaces/strict/pods?labelSelector=app%3Dcase';
    const classes = ({ body }: ApiResponse) =>
      (body as { readonly items?: readonly Pod[] }).items
        ?.filter(({ metadata }) => metadata.name.startsWith('injected-'))
        .map(({ spec }) => spec.runtimeClassName) ?? [];
    const pods = await waitForResponse(
      'its pod',
      () => as('admin', { method: 'GET', path }),
      (response) => classes(response).length === 1,
    );
    assert.deepEqual(classes(pods), ['gvisor']);
  });
}

type Pod = {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly runtimeClassName?: string };
};
