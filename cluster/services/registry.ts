import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from '../../hack/run.ts';
import type { Cluster } from '../cluster.ts';
import { openAuthority } from '../control-plane/pki.ts';
import { HOSTS } from '../node/config.ts';
import { CONTROL_PLANE_ADDRESS } from '../plan/addresses.ts';
import { ensureTools } from '../tools/tools.ts';

/** The address for nodes and control plane, over HTTPS with the cluster's authority. */
export const REGISTRY = `${CONTROL_PLANE_ADDRESS}:5000`;

const DIRECTORY = '/etc/registry';

/** An empty registry beside the control plane, which every node trusts. */
export async function startRegistry(cluster: Cluster): Promise<void> {
  const { controlPlane } = cluster;
  const { registry } = await ensureTools(['registry']);
  const authority = await openAuthority(join(cluster.dir, 'pki'));
  const { cert, key } = await authority.issue('registry', [], [CONTROL_PLANE_ADDRESS]);
  const config = {
    version: 0.1,
    storage: { filesystem: { rootdirectory: '/var/lib/registry' } },
    http: { addr: REGISTRY, tls: { certificate: `${DIRECTORY}/tls.crt`, key: `${DIRECTORY}/tls.key` } },
  };
  await mkdir(controlPlane.path(DIRECTORY), { recursive: true });
  const put = (name: string, text: string) => writeFile(controlPlane.path(`${DIRECTORY}/${name}`), text);
  await put('config.yml', JSON.stringify(config)); // JSON is YAML
  await put('tls.crt', cert);
  await put('tls.key', key);
  const hosts = `[host."https://${REGISTRY}"]\nca = "${HOSTS}/${REGISTRY}/ca.crt"\n`;
  for (const node of cluster.nodes()) {
    await node.write(`${HOSTS}/${REGISTRY}/ca.crt`, authority.cert);
    await node.write(`${HOSTS}/${REGISTRY}/hosts.toml`, hosts);
  }
  const command = [join(registry, 'registry'), 'serve', `${DIRECTORY}/config.yml`];
  await controlPlane.daemon('registry', command, { OTEL_TRACES_EXPORTER: 'none' });
  const isUp = () => controlPlane.run(['curl', '-sfk', `https://${REGISTRY}/v2/`]).then(() => true);
  await waitFor(`the registry (see ${controlPlane.dir}/registry.log)`, 60_000, isUp, 500);
}
