import type { V1PodSpec, V1RuntimeClass } from '@kubernetes/client-node';
import { type Api, type ApiObject, optional } from '../api/api.ts';
import { listClasses, meansGvisor, RUNTIME_CLASS } from './requirements.ts';

const API = 'agents.x-k8s.io/v1beta1';
/** A claim takes this label off a Sandbox. */
const UNCLAIMED = 'agents.x-k8s.io/warm-pool-sandbox';

/** Only what is read of a Sandbox or a SandboxTemplate. */
type Templated = {
  readonly spec?: { readonly podTemplate?: { readonly spec?: V1PodSpec } };
  readonly status?: { readonly nodeName?: string };
};

/**
 * Unclaimed Sandboxes that ask for gVisor, and templates without a RuntimeClass; undefined if agent-sandbox
 * is not installed. Source:
 * https://github.com/kubernetes-sigs/agent-sandbox/blob/v0.5.6/api/v1beta1/sandbox_types.go
 */
export async function readAgentSandbox(api: Api) {
  const extensions = `/apis/extensions.${API}`;
  // Every user may ask for this; the API server forbids a list before it says that there is none.
  if ((await optional(api.get(extensions), [403, 404])) === undefined) return undefined;
  const pick = ({ metadata, spec, status }: ApiObject<Templated>) => {
    const { namespace, name } = metadata;
    const { runtimeClassName = '' } = spec?.podTemplate?.spec ?? {};
    return { namespace, name, node: status?.nodeName ?? '', runtimeClassName };
  };
  const [sandboxes, templates, classes] = await Promise.all([
    api.list(`/apis/${API}/sandboxes`, { labelSelector: UNCLAIMED }, pick),
    api.list(`${extensions}/sandboxtemplates`, {}, pick),
    listClasses(api),
  ]);
  return {
    unclaimed: sandboxes.flatMap(({ namespace, name, node, runtimeClassName }) => {
      const found: ApiObject<V1RuntimeClass> | undefined = classes.get(runtimeClassName);
      return meansGvisor(found) ? [{ namespace, name, node, handler: found?.handler ?? '' }] : [];
    }),
    templates: templates.flatMap(({ namespace, name, runtimeClassName }) =>
      runtimeClassName === '' ? [{ namespace, name }] : [],
    ),
  };
}

type Named = { readonly namespace: string; readonly name: string };

/** Deletes a Sandbox unless it was claimed meanwhile. */
export function removeCommand({ namespace, name }: Named): string {
  return `kubectl delete sandboxes -n ${namespace} -l ${UNCLAIMED} --field-selector metadata.name=${name}`;
}

export function addClassCommand({ namespace, name }: Named): string {
  const patch = JSON.stringify({ spec: { podTemplate: { spec: { runtimeClassName: RUNTIME_CLASS } } } });
  return `kubectl patch sandboxtemplates ${name} -n ${namespace} --type=merge -p '${patch}'`;
}
