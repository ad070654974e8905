import { dirname, join } from 'node:path';
import {
  CONTAINERD_CONFIG,
  containerdConfig,
  PREWARMER_SCRIPT,
  RUNTIME_TABLE,
} from '../../cluster/node/config.ts';
import type { ClusterNode } from '../../cluster/node/node.ts';
import { GVISOR_TOOLS } from '../../cluster/plan/nodes.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { GVISOR, VARIANTS, type Variant } from './runtime-variants.ts';

const RUNC_SHIM = '/usr/local/bin/containerd-shim-runc-v2';

export function variantHandler(variant: Variant): string {
  return `variant-${VARIANTS.indexOf(variant)}`;
}

/** Installs every gVisor release, scripts and links to it, and a handler for each variant. */
export async function installVariants(node: ClusterNode): Promise<void> {
  const tools = await ensureTools([...new Set(Object.values(GVISOR_TOOLS))]);
  const put = async (source: string, inside: string) => {
    await node.system.run(['mkdir', '-p', dirname(inside)]);
    await node.system.install(source, inside);
  };
  const sources = {
    [GVISOR.old]: tools['gvisor-2025'],
    [GVISOR.current]: tools.gvisor,
    [GVISOR.bare]: tools['gvisor-2026-09'],
    [GVISOR.whole]: tools['gvisor-2026-09'],
  };
  for (const [directory, source] of Object.entries(sources)) {
    await put(join(source, 'runsc'), `${directory}/runsc`);
    await put(join(source, 'shim'), `${directory}/containerd-shim-runsc-v1`);
    await node.write(`${directory}/wrapper`, `#!/bin/sh\nexec ${directory}/runsc "$@"\n`, 0o755);
  }
  await put(join(tools['gvisor-2026-09'], 'runsc'), `${GVISOR.whole}/gvisor-bin/gvisor_sentry`);
  await node.write(`${GVISOR.whole}/gvisor-bin/gvisor-sentry-prewarmer`, PREWARMER_SCRIPT, 0o755);
  await put(join(tools.gvisor, 'runsc'), `${GVISOR.current}/sandboxer`);
  const weak = `#!/bin/sh\nexec ${GVISOR.current}/runsc --network=host "$@"\n`;
  await node.write(`${GVISOR.current}/weak-wrapper`, weak, 0o755);
  // Links and scripts with misleading names.
  await node.write('/opt/gvisor/script/runsc', '#!/bin/sh\nexec /usr/local/bin/runc "$@"\n', 0o755);
  await node.system.run(['mkdir', '-p', '/opt/gvisor/link']);
  await node.system.run(['ln', '-sfn', `${GVISOR.current}/runsc`, '/opt/gvisor/runsc']);
  await node.system.run(['ln', '-sfn', RUNC_SHIM, '/opt/gvisor/link/containerd-shim-runsc-v1']);
  // A device file on a file system that allows none.
  const deny = 'mkdir -p /mnt/nodev; mount -t tmpfs -o nodev none /mnt/nodev; mknod /mnt/nodev/kvm c 10 232';
  await node.system.run(['sh', '-ec', deny]);
  // The machine may have no KVM, or one that hangs; each variant names a device of its own.
  await node.write('/etc/misc-with-kvm', '232 kvm\n');
  await node.system.run(['mount', '--bind', '/etc/misc-with-kvm', '/proc/misc']);
  for (const variant of VARIANTS) await node.write(configOf(variant), shimConfig(variant));
  await node.write(
    CONTAINERD_CONFIG,
    containerdConfig(node.spec) + VARIANTS.map((variant) => handler(node, variant)).join(''),
  );
  await node.restart('containerd');
}

function configOf(variant: Variant): string {
  return `/etc/containerd/${variantHandler(variant)}.toml`;
}

function shimConfig({ runsc = `${GVISOR.current}/runsc`, flags = {} }: Variant): string {
  const lines = Object.entries(flags).map(([flag, value]) => `  ${flag} = "${value}"\n`);
  return `binary_name = "${runsc}"\n[runsc_config]\n${lines.join('')}`;
}

function handler(node: ClusterNode, variant: Variant): string {
  const runtime = `${RUNTIME_TABLE[node.spec.containerd]}.containerd.runtimes.${variantHandler(variant)}`;
  const { shim = shimOf(variant), podAnnotations = [], sandboxer } = variant;
  const ofProgram = shim === RUNC_SHIM ? 'io.containerd.runc.v2' : 'io.containerd.runsc.v1';
  const type = shim.startsWith('io.') ? shim : ofProgram;
  // runc's shim refuses options of gVisor's.
  const options =
    variant.shim === undefined
      ? `    TypeUrl = "io.containerd.runsc.v1.options"\n    ConfigPath = "${configOf(variant)}"\n`
      : '';
  return `
[${runtime}]
  runtime_type = "${type}"
  pod_annotations = ${JSON.stringify(podAnnotations)}
${sandboxer === undefined ? '' : `  sandboxer = "${sandboxer}"\n`}${shim === type ? '' : `  runtime_path = "${shim}"\n`}  [${runtime}.options]
${options}`;
}

/** gVisor's shim of the same release as the variant's runsc. */
function shimOf({ runsc = `${GVISOR.current}/runsc` }: Variant): string {
  const directory = Object.values(GVISOR).find((one) => runsc.startsWith(`${one}/`)) ?? GVISOR.current;
  return `${directory}/containerd-shim-runsc-v1`;
}
