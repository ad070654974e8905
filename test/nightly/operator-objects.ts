import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CONTROL_PLANE_ADDRESS } from '../../cluster/plan/addresses.ts';
import { type ImageId, imageName } from '../../cluster/tools/images.ts';
import { moduleDirectory } from '../../cluster/tools/tool-groups.ts';
import { REPO } from '../../hack/paths.ts';

/** The only node that needs the images of monitoring. */
export const MONITORING_NODE = 'node-3';

export const MONITORING_IMAGES: readonly ImageId[] = [
  'prometheus-operator',
  'prometheus-config-reloader',
  'prometheus',
  'alertmanager',
];

/** The port of alert-receiver.ts in the control plane's machine. */
export const RECEIVER_PORT = 9900;

/** The directory of the operator's Go module. */
export function operatorModule(): Promise<string> {
  const module = 'github.com/prometheus-operator/prometheus-operator';
  return moduleDirectory(module, join(REPO, 'cluster/tools/prometheus-operator'));
}

/** The operator's bundle.yaml with local images: CRDs, RBAC and Deployment. */
export async function operatorBundle(): Promise<string> {
  const text = await readFile(join(await operatorModule(), 'bundle.yaml'), 'utf8');
  return text
    .replace(/^( +)kubernetes\.io\/os: linux$/m, `$1kubernetes.io/hostname: ${MONITORING_NODE}`)
    .replaceAll(/quay\.io\/prometheus-operator\/([\w-]+):v[\d.]+/g, (_, id) => imageName(id as ImageId));
}

/** The objects of operator-stack.yaml. */
export async function operatorStack(): Promise<string> {
  const text = await readFile(join(REPO, 'test/nightly/operator-stack.yaml'), 'utf8');
  return text
    .replace('url: RECEIVER', `url: "http://${CONTROL_PLANE_ADDRESS}:${RECEIVER_PORT}/"`)
    .replace(/(?<=image: )[A-Z]+$/gm, (name) => imageName(name.toLowerCase() as ImageId));
}
