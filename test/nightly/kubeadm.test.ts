import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { V1ConfigMap, V1Pod } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { toolVersion } from '../../cluster/tools/tool-groups.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { run } from '../../hack/run.ts';
import { useApiServer } from '../api/api-server.ts';
import { markedBlock } from '../docs/marked-blocks.ts';

const FLAG = '--admission-control-config-file=/etc/kubernetes/admission/configuration.yaml';
const DIRECTORY = '/etc/kubernetes/admission';
const cluster = useApiServer([]);

describe("kubeadm, with docs/fleet.md's configuration for policies from files", () => {
  let directory: string;
  let kubeadm: (command: string) => Promise<string>;
  before(async () => {
    const tools = await ensureTools(['kubeadm']);
    directory = await mkdtemp(join(tmpdir(), 'kubeadm-'));
    const config = join(directory, 'config.yaml');
    // Otherwise kubeadm asks the internet for the newest version.
    const version = `kubernetesVersion: ${await toolVersion('kubeadm')}\n`;
    await writeFile(config, `${markedBlock('docs/fleet.md', 'kubeadm')}${version}`);
    const env = { ...process.env, KUBEADM_INIT_DRYRUN_DIR: directory };
    kubeadm = (command) =>
      run(join(tools.kubeadm, 'kubeadm'), [...command.split(' '), '--config', config], { env });
  });
  after(() => rm(directory, { recursive: true }));

  it('finds it valid', async () => {
    await kubeadm('config validate');
  });

  it('writes a static pod that reads the files', async () => {
    await kubeadm('init phase control-plane apiserver --dry-run');
    const { spec } = parse(await readFile(join(directory, 'kube-apiserver.yaml'), 'utf8')) as V1Pod;
    const [container] = spec?.containers ?? [];
    assert.deepEqual(
      container?.command?.filter((each) => each.startsWith('--admission-control')),
      [FLAG],
    );
    assert.deepEqual(
      container?.volumeMounts?.find(({ name }) => name === 'admission'),
      { name: 'admission', mountPath: DIRECTORY, readOnly: true },
    );
    assert.deepEqual(
      spec?.volumes?.find(({ name }) => name === 'admission'),
      { name: 'admission', hostPath: { path: DIRECTORY, type: 'Directory' } },
    );
  });

  it('stores it for the next upgrade', async () => {
    await kubeadm(`init phase upload-config kubeadm --kubeconfig ${cluster().kubeconfig}`);
    const path = '/api/v1/namespaces/kube-system/configmaps/kubeadm-config';
    const { data } = JSON.parse(await cluster().get(path)) as V1ConfigMap;
    const { apiServer } = parse(markedBlock('docs/fleet.md', 'kubeadm'));
    assert.deepEqual(parse(data?.ClusterConfiguration ?? '').apiServer, apiServer);
  });
});
