import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import type { V1DaemonSet, V1NetworkPolicy, V1Pod } from '@kubernetes/client-node';
import { REPO } from '../../hack/paths.ts';
import { createRestrictedNamespace, useApiServer } from './api-server.ts';
import { certificateUser, tokenUser } from './api-user.ts';

const NAMESPACE = 'gvisor-ready';
const NAME = 'gvisor-ready-install';
const cluster = useApiServer(['install']);
const read = async () =>
  JSON.parse(
    await cluster().kubectl(['get', 'daemonset', NAME, '-n', NAMESPACE, '-o', 'json']),
  ) as V1DaemonSet;

it("the installer's identity may only ask what it may do, as every account", async () => {
  const installer = await tokenUser(cluster(), NAMESPACE, NAME);
  const { body } = await installer({
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews',
    body: { spec: { namespace: NAMESPACE } },
  });
  const { status } = body as { status: { resourceRules: { verbs: string[]; resources: string[] }[] } };
  const rules = status.resourceRules.flatMap(({ verbs, resources }) =>
    resources.map((resource) => `${verbs.join()} ${resource}`),
  );
  assert.ok(rules.length > 0);
  assert.deepEqual(
    rules.filter((rule) => !/^create selfsubject(access|rules)?reviews$/.test(rule)),
    [],
  );
});

describe("the installer's pod, on a real API server", () => {
  let pod: V1Pod;
  before(async () => {
    const admin = await certificateUser(cluster(), 'admin', ['system:masters']);
    const { template } = (await read()).spec ?? assert.fail();
    const { code, message, warnings, body } = await admin({
      method: 'POST',
      path: `/api/v1/namespaces/${NAMESPACE}/pods?dryRun=All`,
      body: { metadata: { name: 'install', labels: template.metadata?.labels }, spec: template.spec },
    });
    assert.deepEqual([code, message, warnings], [201, '', []]);
    pod = body as V1Pod;
  });

  it('evicts nobody from a full node: the kubelet makes room for requests and for critical pods', () => {
    assert.ok((pod.spec?.priority ?? 0) < 2_000_000_000); // scheduling.SystemCriticalPriority of Kubernetes
    const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
    const requested = containers.flatMap(({ resources }) => Object.values(resources?.requests ?? {}));
    assert.deepEqual([...new Set(requested)], ['0']);
  });

  it('has no token, and the host only in the container that installs', () => {
    assert.deepEqual(
      pod.spec?.volumes?.map(({ name }) => name),
      ['host'],
    );
    assert.deepEqual(
      pod.spec?.containers.map(({ name, volumeMounts = [] }) => [name, volumeMounts]),
      [['installed', []]],
    );
    assert.deepEqual(
      pod.spec?.initContainers?.map(({ volumeMounts }) => volumeMounts),
      [[{ name: 'host', mountPath: '/host', mountPropagation: 'HostToContainer' }]],
    );
  });

  it('keeps running a container that Pod Security "restricted" accepts', async () => {
    const create = await createRestrictedNamespace(cluster());
    const { containers, initContainers, volumes } = pod.spec ?? assert.fail();
    assert.match(await create({ containers }), /pod\/x serverside-applied/);
    await assert.rejects(create({ containers: initContainers, volumes }), /violates PodSecurity/);
  });

  it('is selected by no policy of the base, and may reach nothing', async () => {
    const { items } = JSON.parse(
      await cluster().kubectl(['get', 'networkpolicy', '-n', NAMESPACE, '-o', 'json']),
    ) as { items: V1NetworkPolicy[] };
    const selecting = items.filter(({ spec }) =>
      Object.entries(spec?.podSelector?.matchLabels ?? {}).every(
        ([key, value]) => pod.metadata?.labels?.[key] === value,
      ),
    );
    assert.deepEqual(
      selecting.map(({ metadata, spec }) => [metadata?.name, spec?.ingress, spec?.egress, spec?.policyTypes]),
      [[NAME, undefined, undefined, ['Ingress', 'Egress']]],
    );
  });
});

it('the removal differs from the installation in one word', async () => {
  const installs = (await read()).spec;
  const text = await cluster().kubectl([
    ...['apply', '--dry-run=server', '-o', 'json', '-k', join(REPO, 'manifests/install-remove')],
  ]);
  const { items } = JSON.parse(text) as { items: V1DaemonSet[] };
  const { spec } = items.find(({ kind }) => kind === 'DaemonSet') ?? assert.fail();
  assert.deepEqual(spec?.template.spec?.initContainers?.[0]?.args, ['--root', '/host', 'remove']);
  assert.deepEqual(
    JSON.parse(JSON.stringify(spec).replace('"/host","remove"', '"/host","install"')),
    installs,
  );
});
