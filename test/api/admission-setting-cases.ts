import assert from 'node:assert/strict';
import { accepted, assertAccepted, type Case, type Group, refused } from './admission-case.ts';
import { classMessage, recreate } from './admission-class-cases.ts';
import type { Admission } from './admission-cluster.ts';
import { podPath } from './admission-fixture.ts';
import { container, create, hostPath, pod, privileged } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';
import { waitForPolicies } from './wait-for-policies.ts';

const ENFORCE = 'gvisor-ready-enforce';
const pathOf = (policy: string) =>
  `/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/${policy}`;
type Variable = { readonly name: string; readonly expression: string };
type Policy = { readonly spec: { readonly variables: readonly Variable[] } };

/** Sets the expression of a variable of a policy; returns the response and the previous expression. */
async function setVariable({ as }: Admission, policy: string, name: string, expression: string) {
  const { body } = await as('admin', { method: 'GET', path: pathOf(policy) });
  const { variables } = (body as Policy).spec;
  const was = variables.find((variable) => variable.name === name)?.expression;
  assert.ok(was !== undefined, `"${policy}" has no variable "${name}"`);
  const changed = variables.map((one) => (one.name === name ? { name, expression } : one));
  const response = await as('admin', {
    method: 'PATCH',
    path: pathOf(policy),
    body: { spec: { variables: changed } },
  });
  return { response, was };
}

/** Runs cases while a variable of a policy has another expression. */
export function whileSet(
  [policy, name, expression]: readonly [policy: string, name: string, expression: string],
  cases: readonly Case[],
): Case {
  return {
    what: `with ${name}: ${expression}`,
    exclusive: true,
    run: async (admission) => {
      const { response, was } = await setVariable(admission, policy, name, expression);
      assertAccepted(response);
      try {
        await waitForPolicies(admission);
        for (const { what, run } of cases) {
          await run(admission).catch((cause: Error) => assert.fail(`${what}: ${cause.message}`));
        }
      } finally {
        await setVariable(admission, policy, name, was);
        await waitForPolicies(admission);
      }
    },
  };
}

/** An expression that the API server rejects. */
const rejected = (name: string, expression: string): Case => ({
  what: `${name}: ${expression} is rejected, and the policy stays`,
  exclusive: true,
  run: async (admission) => {
    const { response, was } = await setVariable(admission, ENFORCE, name, expression);
    if (response.code < 300) await setVariable(admission, ENFORCE, name, was);
    assert.equal(response.code, 422, response.message);
    assert.match(response.message, /compilation failed/);
  },
});

const free = { schedulingGates: undefined };
const dry = (part?: Parameters<typeof pod>[0]) => create('strict', pod(part), 'dryRun=All');
const status: ApiCall = {
  method: 'PATCH',
  path: `${podPath('old-plain')}/status?dryRun=All`,
  body: { status: { message: 'x' } },
};
const operator = { as: 'operator' } as const;

const onPort = (containerPort: number, hostPort?: number) => ({ ports: [{ containerPort, hostPort }] });
const probe = { livenessProbe: { httpGet: { port: 80, host: '10.0.0.1' } } };
const nfs = { name: 'nfs', nfs: { server: 'a', path: '/' } };
const git = { name: 'git', gitRepo: { repository: 'https://example.com' } };
const relaxed = dry({
  spec: { ...hostPath, ...container(privileged), hostPID: true, hostNetwork: true, hostIPC: true },
});
const SETTINGS: readonly Case[] = [
  whileSet(
    [ENFORCE, 'runtimeClassNames', "['gvisor', 'gvisor-gpu']"],
    [
      accepted('a pod with the first class', dry()),
      accepted('a pod with the second class', dry({ spec: { runtimeClassName: 'gvisor-gpu' } })),
      refused(
        'a pod without a runtime class',
        dry({ spec: { runtimeClassName: undefined } }),
        /write runtimeClassName: gvisor \(or: gvisor-gpu\)$/,
      ),
      refused('to recreate the second', recreate('gvisor-gpu', 'runc'), classMessage('gvisor-gpu'), operator),
    ],
  ),
  whileSet(
    [ENFORCE, 'runtimeClassNames', '[]'],
    [refused('a gVisor pod', dry(), /runtimeClassName is "gvisor": write/), accepted('a status', status)],
  ),
  ...['hostPath', 'privileged', 'hostPID'].map((field) =>
    whileSet(
      [ENFORCE, 'allow', `['${field}']`],
      [
        refused(
          'everything',
          relaxed,
          field === 'hostPath'
            ? /hostIPC.*; privileged is/
            : field === 'privileged'
              ? /volumes of/
              : /hostNetwork, hostIPC:/,
        ),
        accepted(
          field,
          dry({
            spec:
              field === 'hostPath'
                ? hostPath
                : field === 'privileged'
                  ? container(privileged)
                  : { hostPID: true },
          }),
        ),
      ],
    ),
  ),
  whileSet(
    [ENFORCE, 'allow', "['hostNetwork', 'hostPID', 'hostIPC', 'probeHost', 'privileged', 'hostPath', 'nfs']"],
    [
      accepted('everything', relaxed),
      accepted(
        "ports with the host's network",
        dry({ spec: { hostNetwork: true, ...container(onPort(80)) } }),
      ),
      accepted('a probe of a host', dry({ spec: container(probe) })),
      accepted('an allowed volume', dry({ spec: { volumes: [nfs] } })),
      refused('a hostPort', dry({ spec: container(onPort(81, 81)) }), /hostPort is not allowed here/),
      refused('another volume', dry({ spec: { volumes: [nfs, git] } }), /not allowed here: git;/),
      refused('a pod with spec.nodeName', dry({ spec: { ...free, nodeName: 'n' } }), /spec\.nodeName is "n"/),
    ],
  ),
  whileSet(
    [ENFORCE, 'allow', "['hostpath', 'all']"],
    [refused('a misspelt name, which allows nothing:', relaxed, /volumes of/)],
  ),
  whileSet(
    [ENFORCE, 'hostPorts', '[8080, 9090]'],
    [
      accepted(
        'both ports',
        dry({ spec: container({ ports: [...onPort(1, 8080).ports, ...onPort(2, 9090).ports] }) }),
      ),
      refused(
        'another beside an allowed one',
        dry({ spec: container({ ports: [...onPort(1, 8080).ports, ...onPort(2, 8081).ports] }) }),
        /hostPort is not allowed here, and the containers main have it/,
      ),
    ],
  ),
  rejected('hostPorts', '8080'),
  rejected('runtimeClassNames', 'gvisor'),
  rejected('runtimeClassNames', "'gvisor'"),
  rejected('allow', "'hostPath'"),
];

const FAILS = '[string(1 / 0)]';
const FAIL_CLOSED: readonly Case[] = [
  whileSet(
    [ENFORCE, 'runtimeClassNames', FAILS],
    [
      refused('a gVisor pod', dry(), /resulted in error: .*division by zero/, { code: 422 }),
      refused('a RuntimeClass', recreate('other', 'runc'), /division by zero/, { ...operator, code: 422 }),
      accepted('the status of a running pod', status),
      accepted('the deletion of a running pod', {
        method: 'DELETE',
        path: `${podPath('old-plain')}?dryRun=All`,
      }),
    ],
  ),
  whileSet(
    [ENFORCE, 'allow', FAILS],
    [
      refused('a pod on the host', relaxed, /resulted in error: .*division by zero/, { code: 422 }),
      accepted('an image of a gVisor pod', {
        ...status,
        path: `${podPath('gated')}?dryRun=All`,
        patch: 'strategic-merge-patch+json',
        body: { spec: { containers: [{ name: 'main', image: 'localhost/other' }] } },
      }),
      accepted('the status of a running pod', status),
    ],
  ),
  whileSet(
    ['gvisor-ready-guard-namespace', 'isOfTheSystem', '1 / 0 == 0'],
    [
      refused(
        'to remove the label',
        {
          method: 'PATCH',
          path: '/api/v1/namespaces/strict?dryRun=All',
          body: { metadata: { labels: { 'require-gvisor': null } } },
        },
        /division by zero/,
        { ...operator, code: 422 },
      ),
    ],
  ),
];

export const SETTING_GROUPS: readonly Group[] = [
  { title: 'settings', cases: SETTINGS },
  { title: 'a failing policy denies writes, except deletions and status updates', cases: FAIL_CLOSED },
];
