import { firstOf } from '../../lib/fleet/objects.ts';
import type { Context } from '../api/context.ts';
import { listNodes, type NodeSummary } from '../cluster/node-summary.ts';
import {
  HANDLER,
  listClasses,
  RUNTIME_CLASS,
  readyLabelOf,
  selectedReadyLabels,
  selectsProven,
} from '../cluster/requirements.ts';
import { type CheckLine, countOf, inSection } from '../text/output.ts';

const line = inSection('Before installing');

/**
 * Each is unknown alone if the user may not read what it needs. A dry run of the manifests says what the API
 * server would refuse.
 */
export const PRE_INSTALL = { RuntimeClasses: aboutClasses, SupportedNodes: aboutNodes } as const;

async function aboutClasses({ api }: Context): Promise<CheckLine[]> {
  const others = [...(await listClasses(api)).values()].filter(
    (each) => (each.handler === HANDLER || selectedReadyLabels(each).length > 0) && !selectsProven(each),
  );
  return others.map(({ metadata: { name }, handler }) => {
    const label = readyLabelOf(handler);
    const effect =
      name === RUNTIME_CLASS
        ? 'its pods will be scheduled to proven nodes only, and wait until one is proven'
        : 'its pods will still be scheduled to nodes where that is not proven';
    const text = `The RuntimeClass "${name}" has the handler "${handler}" and no node selector ${label}: "true": ${effect}`;
    return line('OtherRuntimeClass', 'warning', text, { runtimeClass: name, handler, label });
  });
}

async function aboutNodes({ api }: Context): Promise<CheckLine[]> {
  const nodes = await listNodes(api);
  const needs = 'Linux on amd64 or arm64, containerd 1.7 or newer';
  const unsupported = nodes.flatMap((node) => {
    const because = unsupportedPart(node);
    return because === undefined ? [] : [{ ...node, because }];
  });
  const supported = nodes.length - unsupported.length;
  const listed = unsupported.map(({ name, os, architecture, runtime }) => {
    return { name, os, architecture, runtime };
  });
  const data = { supported, total: nodes.length, unsupported: listed };
  if (supported === 0)
    return [line('SupportedNodes', 'fail', `Agents can evaluate no node: they need ${needs}`, data)];
  const text = `Agents can evaluate ${supported} of ${countOf(nodes.length, 'node')}: ${needs}`;
  const names = unsupported.map(({ name, because }) => `${name} (${because})`);
  const others = `Nodes that no agent can evaluate: ${firstOf(names)}`;
  return [
    line('SupportedNodes', 'pass', text, data),
    ...(names.length === 0 ? [] : [line('SupportedNodes', 'warning', others, data)]),
  ];
}

function unsupportedPart({ os, architecture, runtime }: NodeSummary): string | undefined {
  if (os !== 'linux') return os || 'unknown system';
  if (!['amd64', 'arm64'].includes(architecture)) return architecture;
  if (!runtime.startsWith('containerd://')) return runtime || 'unknown runtime';
  return /^containerd:\/\/v?1\.[0-6]\./.test(runtime) ? runtime : undefined;
}
