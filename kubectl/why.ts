import { KubeError } from '../agent/kube/error.ts';
import { orAbsent } from './agents.ts';
import type { Api } from './api.ts';
import { type Context, EXIT, UsageError } from './context.ts';
import { type Explanation, explain, explanationLines } from './explanation.ts';
import type { RawNode } from './node-view.ts';
import { type Format, isForPrograms, serialize } from './output.ts';
import { readPodFacts, readWarnings } from './pod-facts.ts';
import type { RawPod } from './pod-view.ts';
import { explainNode, readNodeDetails } from './why-node.ts';
import { explainPod } from './why-pod.ts';

/** The words that may stand before a slash, as kubectl has them. */
const KINDS: Readonly<Record<string, 'node' | 'pod'>> = {
  node: 'node',
  nodes: 'node',
  no: 'node',
  pod: 'pod',
  pods: 'pod',
  po: 'pod',
};

/** "node/x", "pod/x", or a name of either. */
export function parseTarget(word: string): { readonly kind?: 'node' | 'pod'; readonly name: string } {
  const [first = '', second, ...more] = word.split('/');
  const name = second ?? first;
  // Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
  if (more.length > 0 || !/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name))
    throw new UsageError(`"${word}" is no name of a node or pod`);
  if (second === undefined) return { name };
  const kind = KINDS[first];
  if (kind === undefined)
    throw new UsageError(`"${first}" is no kind that can be asked about: write node/${name} or pod/${name}`);
  return { kind, name };
}

/** `why`: why a node is not ready, or why a pod waits, was rejected, or does not run in gVisor. */
export async function why(context: Context, word: string, output: Format | undefined): Promise<number> {
  const { api, screen, namespace, now } = context;
  const { kind, name } = parseTarget(word);
  const [node, pod] = await Promise.all([
    kind === 'pod' ? NOTHING : read<RawNode>(api, `/api/v1/nodes/${name}`),
    kind === 'node' ? NOTHING : read<RawPod>(api, `/api/v1/namespaces/${namespace}/pods/${name}`),
  ]);
  if (node.found !== undefined && pod.found !== undefined)
    throw new UsageError(`"${name}" is a node, and a pod of ${namespace}: write node/${name} or pod/${name}`);
  let explanation: Explanation | undefined;
  if (node.found !== undefined) explanation = explainNode(await readNodeDetails(context, node.found), now());
  else if (pod.found !== undefined) explanation = explainPod(await readPodFacts(api, pod.found), now());
  else if (kind !== 'node') explanation = await explainRefused(context, name);
  if (explanation === undefined) throw node.refused ?? pod.refused ?? absent(kind, name, namespace);
  if (isForPrograms(output)) screen.out(serialize(explanation, output));
  else screen.out(`${explanationLines(explanation, screen).join('\n')}\n`);
  if (explanation.tone === 'pass') return EXIT.fine;
  return explanation.tone === 'unknown' && pod.found !== undefined ? EXIT.blind : EXIT.problem;
}

/** An object, or the refusal to show it, which must not keep one of the other kind from being shown. */
type Read<T> = { readonly found?: T | undefined; readonly refused?: KubeError };
const NOTHING: Read<never> = {};

async function read<T>(api: Api, path: string): Promise<Read<T>> {
  try {
    return { found: await orAbsent(api.get<T>(path)) };
  } catch (error) {
    if (error instanceof KubeError && error.status === 403) return { refused: error };
    throw error;
  }
}

function absent(kind: 'node' | 'pod' | undefined, name: string, namespace: string): Error {
  const node = `There is no node "${name}"`;
  const pod = `no pod "${name}" in the namespace "${namespace}"`;
  return new Error(kind === 'node' ? node : kind === 'pod' ? `There is ${pod}` : `${node}, and ${pod}`);
}

/** A pod that admission refused is nowhere; its controller, of this name or named after it, was told why. */
async function explainRefused({ api, namespace }: Context, name: string): Promise<Explanation | undefined> {
  const warnings = await orAbsent(readWarnings(api, namespace, 'reason=FailedCreate'), [403]);
  const own = warnings?.find(
    ({ message, about }) =>
      message.includes("ValidatingAdmissionPolicy 'gvisor-ready-") &&
      (message.includes(`"${name}" is forbidden`) || about === name || about.startsWith(`${name}-`)),
  );
  if (own === undefined) return undefined;
  return explain(
    'fail',
    `There is no pod ${namespace}/${name}: the API server refuses the pods of ${own.about}`,
    {
      because: [own.message],
      next: ['Change what creates the pods, as the message says.'],
      docs: 'docs/admission.md#what-it-says-and-what-to-do',
    },
  );
}
