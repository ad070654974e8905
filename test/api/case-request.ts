import assert from 'node:assert/strict';
import type { Admission } from './admission-cluster.ts';
import { KINDS, type PodPart, pod, WORKLOADS, type Workload, workload } from './admission-objects.ts';
import type { ApiCall } from './api-user.ts';

/** A request by `METHOD path`, its body, and a request of the administrator before it. */
export type Row = Readonly<Record<string, unknown>> & { readonly given?: Row };

/** Methods that are kinds of PATCH. */
const PATCHES: Readonly<Record<string, ApiCall['patch']>> = {
  PATCH: 'strategic-merge-patch+json',
  MERGE: 'merge-patch+json',
  APPLY: 'apply-patch+yaml',
  'JSON-PATCH': 'json-patch+json',
};

const resourceOf = (kind: Workload) => `${kind.toLowerCase()}s`;
/** The API versions of resources that are not in the core group. */
const API_VERSIONS: Readonly<Record<string, string>> = {
  runtimeclasses: 'node.k8s.io/v1',
  validatingadmissionpolicies: 'admissionregistration.k8s.io/v1',
  ...Object.fromEntries(KINDS.map((kind) => [resourceOf(kind), WORKLOADS[kind]])),
};

type Part = PodPart & { readonly template?: PodPart };
type Stored = { readonly metadata: { readonly uid: string } };

/** The request of a row, completed with what the cluster has. */
export async function requestOf(admission: Admission, { given, ...row }: Row): Promise<ApiCall> {
  if (given !== undefined) await admission.as('admin', await requestOf(admission, given));
  const [found, ...others] = Object.entries(row).filter(([key]) => key.includes(' '));
  assert.ok(found !== undefined && others.length === 0, `a row has one request: ${JSON.stringify(row)}`);
  const [request, part] = found;
  const [verb = '', to = ''] = request.split(' ');
  const version = API_VERSIONS[to.split('/').find((name) => name in API_VERSIONS) ?? ''] ?? 'v1';
  const path = `/${version === 'v1' ? 'api' : 'apis'}/${version}/${to}`;
  const patch = PATCHES[verb];
  if (patch !== undefined) return { method: 'PATCH', path, patch, body: part as object };
  const method = verb as 'GET' | 'POST' | 'PUT' | 'DELETE';
  if (part === null) return { method, path };
  const changes = part as Part;
  const body = method === 'PUT' ? await readChanged(admission, path, changes) : newObject(to, changes);
  return { method, path, body: await putUid(admission, body) };
}

/** A pod or workload with the defaults of the tests; anything else as it is written. */
function newObject(to: string, part: Part): object {
  const resource = to.split('/').at(-1);
  if (resource === 'pods') return pod(part);
  const kind = KINDS.find((each) => resourceOf(each) === resource);
  return kind === undefined ? part : workload(kind, part.template, part.metadata);
}

/** The object at a path, or at that of its subresource, with other metadata. */
async function readChanged({ as }: Admission, path: string, { metadata }: Part): Promise<object> {
  const { body } = await as('admin', { method: 'GET', path: path.replace(/\/(status|finalize)$/, '') });
  const now = body as Stored;
  return { ...now, metadata: { ...now.metadata, ...metadata } };
}

/** Puts the UID of a Node for `uid of NAME`, which NodeRestriction wants in mirror pods. */
async function putUid({ as }: Admission, body: object): Promise<object> {
  const json = JSON.stringify(body);
  const [, name] = /"uid of (.+?)"/.exec(json) ?? [];
  if (name === undefined) return body;
  const node = (await as('admin', { method: 'GET', path: `/api/v1/nodes/${name}` })).body as Stored;
  return JSON.parse(json.replace(`uid of ${name}`, node.metadata.uid)) as object;
}
