import { type Document, isCollection, type ParsedNode, parseAllDocuments, visit as visitNodes } from 'yaml';
import { errorLine } from '../../lib/base/sanitize.ts';

type Json = Readonly<Record<string, unknown>>;

export type ManifestPart =
  /** `place` is the kind and name of the object. */
  | { readonly kind: 'pod'; readonly place: string; readonly spec: Json }
  | { readonly kind: 'noPod'; readonly place: string }
  | { readonly kind: 'duplicateKey'; readonly place: string; readonly key: string }
  | { readonly kind: 'unreadable'; readonly place: string; readonly why: string };

/**
 * The pods that the objects of a file would make, and what could not be read: of pods, workloads and custom resources
 * with a list of containers, Argo workflows, Tekton tasks, and manifests inside ConfigMaps.
 */
export function readManifests(text: string): readonly ManifestPart[] {
  return partsOf(text, (number) => `document ${number}`);
}

function partsOf(text: string, placeOf: (number: number) => string): readonly ManifestPart[] {
  return documentsOf(text).flatMap((document, at) => partsOfDocument(document, text, placeOf(at + 1)));
}

/** As kubectl reads YAML 1.1, so that "no" is a boolean. */
function documentsOf(text: string): readonly Document.Parsed<ParsedNode>[] {
  const documents = parseAllDocuments(text, { version: '1.1', logLevel: 'silent' });
  return Array.isArray(documents) ? documents : [];
}

function partsOfDocument(
  document: Document.Parsed<ParsedNode>,
  text: string,
  place: string,
): readonly ManifestPart[] {
  const duplicates = document.errors.filter(({ code }) => code === 'DUPLICATE_KEY');
  const [error] = document.errors.filter(({ code }) => code !== 'DUPLICATE_KEY');
  if (error !== undefined) return [{ kind: 'unreadable', place, why: errorLine(error) }];
  if (hasCollectionAsKey(document))
    return [{ kind: 'unreadable', place, why: 'a key is no text; render templates first' }];
  const parts: ManifestPart[] = duplicates.map(({ pos: [start], linePos }) => {
    const key = /^["']?([^"':\s]*)/.exec(text.slice(start))?.[1] ?? '';
    return { kind: 'duplicateKey', place: `${place}, line ${linePos?.[0].line ?? '?'}`, key };
  });
  try {
    const root: unknown = document.toJS({ maxAliasCount: -1 });
    const pods = podsOf(root, place);
    if (pods.length > 0 || root === null) return [...parts, ...pods];
    return [...parts, { kind: 'noPod', place: (isObject(root) && placeOf(root)) || place }];
  } catch (error) {
    return [...parts, { kind: 'unreadable', place, why: errorLine(error) }];
  }
}

/** JSON has no such keys, but YAML reads `{{ .Values.image }}` as one. */
function hasCollectionAsKey(document: Document.Parsed<ParsedNode>): boolean {
  let found = false;
  visitNodes(document, {
    Pair: (_, { key }) => {
      found ||= isCollection(key);
    },
  });
  return found;
}

/** An object that YAML aliases repeat is visited once. */
function podsOf(root: unknown, document: string): readonly ManifestPart[] {
  const parts: ManifestPart[] = [];
  const visited = new Set<unknown>();
  const visit = (value: unknown, owner: string): void => {
    if (!isObject(value) || visited.has(value)) return;
    visited.add(value);
    const place = placeOf(value) ?? owner;
    if (Array.isArray(value.containers)) parts.push({ kind: 'pod', place, spec: value });
    else if (isTask(value)) parts.push({ kind: 'pod', place, spec: podOfTask(value) });
    for (const template of objectsOf(value.templates)) {
      if (mainContainers(template).length === 0) continue;
      visited.add(template);
      parts.push(podOfTemplate(template, value, place));
    }
    for (const [key, each] of Object.entries(value)) {
      if (isManifest(key, each, value)) parts.push(...partsOf(each, () => `${place}, ${key}`));
      visit(each, place);
    }
    if (value.kind === 'ConfigMap' && isObject(value.data))
      for (const [key, each] of Object.entries(value.data))
        if (hasPods(each)) parts.push(...partsOf(each, () => `${place}, ${key}`));
  };
  visit(root, document);
  return parts;
}

function placeOf({ kind, metadata }: Json): string | undefined {
  if (typeof kind !== 'string') return undefined;
  const { name, generateName } = isObject(metadata) ? metadata : {};
  const named = [name, generateName].find((each) => typeof each === 'string') ?? '?';
  return `${kind}/${named}`;
}

/** What an Argo template of the type resource creates. */
function isManifest(key: string, value: unknown, owner: Json): value is string {
  return key === 'manifest' && 'action' in owner && hasPods(value);
}

function hasPods(value: unknown): value is string {
  return typeof value === 'string' && /^[\s"{-]*containers"?\s*:/m.test(value);
}

/** Of Tekton: https://tekton.dev/docs/pipelines/tasks/ */
function isTask({ steps }: Json): boolean {
  return objectsOf(steps).some((step) => typeof step.image === 'string' || typeof step.script === 'string');
}

/** Each workspace is a volume of all containers. Steps run one after the other, as init containers do. */
function podOfTask(task: Json): Json {
  const common = isObject(task.stepTemplate) ? task.stepTemplate : {};
  const workspaces = objectsOf(task.workspaces).map(({ name }) => {
    return { name: `workspace ${name}` };
  });
  const inTask = (container: Json): Json => {
    const volumeMounts = [...listOf(container.volumeMounts), ...workspaces];
    return { ...withScript(container), volumeMounts };
  };
  const steps = objectsOf(task.steps).map((step, at) =>
    inTask({ name: `step-${at + 1}`, ...common, ...step }),
  );
  const sidecars = objectsOf(task.sidecars).map((sidecar, at) =>
    inTask({ name: `sidecar-${at + 1}`, ...sidecar }),
  );
  if (sidecars.length > 0) return { containers: [...steps, ...sidecars], volumes: task.volumes };
  return { initContainers: steps.slice(0, -1), containers: steps.slice(-1), volumes: task.volumes };
}

/** Of Argo Workflows: https://argo-workflows.readthedocs.io/en/latest/fields/#template */
function mainContainers({ container, script, containerSet }: Json): readonly Json[] {
  if (isObject(containerSet)) {
    const { containers, volumeMounts } = containerSet;
    return objectsOf(containers).map((each) => {
      return { ...each, volumeMounts: [...listOf(volumeMounts), ...listOf(each.volumeMounts)] };
    });
  }
  return [container, script].filter(isObject).map((each) => {
    return { name: 'main', ...withScript(each) };
  });
}

function podOfTemplate(template: Json, workflow: Json, owner: string): ManifestPart {
  const place = `${owner}, template ${template.name}`;
  const containers = mainContainers(template);
  const mirrored = containers.flatMap(({ volumeMounts }) => listOf(volumeMounts));
  const sidecars = objectsOf(template.sidecars).map((each) => {
    const { mirrorVolumeMounts, volumeMounts } = each;
    return { ...each, volumeMounts: [...listOf(volumeMounts), ...(mirrorVolumeMounts ? mirrored : [])] };
  });
  const spec = {
    hostNetwork: workflow.hostNetwork,
    securityContext: template.securityContext ?? workflow.securityContext,
    volumes: [...listOf(workflow.volumes), ...listOf(template.volumes)],
    initContainers: template.initContainers,
    containers: [...containers, ...sidecars],
  };
  try {
    const patched = [workflow.podSpecPatch, template.podSpecPatch].reduce<unknown>(withPatch, spec);
    return { kind: 'pod', place, spec: patched as Json };
  } catch (error) {
    return { kind: 'unreadable', place: `${place}, podSpecPatch`, why: errorLine(error) };
  }
}

function withPatch(spec: unknown, patch: unknown): unknown {
  if (typeof patch !== 'string') return spec;
  const [document] = documentsOf(patch);
  if (document === undefined) return spec;
  if (document.errors[0] !== undefined) throw document.errors[0];
  return merged(spec, document.toJS());
}

/** As a strategic merge patch, as far as lists of named objects need it. */
function merged(value: unknown, patch: unknown): unknown {
  if (Array.isArray(patch)) return hasNames(patch) ? mergedByName(objectsOf(value), patch) : patch;
  if (!isObject(value) || !isObject(patch)) return patch;
  const entries = Object.entries(patch).map(([key, each]) => [key, merged(value[key], each)]);
  return { ...value, ...Object.fromEntries(entries) };
}

function hasNames(list: readonly unknown[]): list is readonly Json[] {
  return list.every((each) => isObject(each) && each.name !== undefined);
}

function mergedByName(list: readonly Json[], patch: readonly Json[]): readonly unknown[] {
  const added = patch.filter(({ name }) => list.every((each) => each.name !== name));
  const kept = list.map((each) => {
    const change = patch.find(({ name }) => name === each.name);
    return change === undefined ? each : merged(each, change);
  });
  return [...kept, ...added];
}

/** What the script says belongs to the command. */
function withScript(container: Json): Json {
  const { script, source, args } = container;
  const text = [script, source].filter((each) => typeof each === 'string');
  return { ...container, args: [...listOf(args), ...text] };
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null;
}

function objectsOf(value: unknown): readonly Json[] {
  return listOf(value).filter((each): each is Json => isObject(each) && !Array.isArray(each));
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
