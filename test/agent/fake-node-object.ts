export type Condition = Readonly<Record<string, string>>;
export type Taint = { readonly key: string; readonly effect: string; readonly value?: string };
type Texts = Record<string, string>;
type Managed = {
  readonly manager: string;
  readonly operation: 'Update';
  readonly subresource?: 'status';
  readonly time: string;
  readonly fieldsV1: object;
};

/** A patch that an agent sends. */
export type Patch = {
  metadata?: {
    resourceVersion?: string;
    labels?: Record<string, string | null>;
    annotations?: Record<string, string | null>;
  };
  spec?: { taints?: Taint[] };
  status?: { conditions?: (Condition & { $patch?: 'delete' })[] };
};

/** A Node as the API server keeps it: versions, patches, who manages what, and events for watches. */
export class FakeNode {
  labels: Texts = {};
  annotations: Texts = {};
  taints: Taint[] = [];
  conditions: Condition[] = [];
  bootID = '';
  uid = 'uid-1';
  exists = true;
  /** Called with the type of the watch event for each change. */
  onChange: (type: string) => void = () => {};
  #version = 1;
  readonly #managed = new Map<string, Managed>();

  get whole(): object {
    const { metadata, taints, conditions, bootID } = this;
    return { metadata, spec: { taints }, status: { conditions, nodeInfo: { bootID } } };
  }

  get metadata(): object {
    const { uid, labels, annotations } = this;
    const managedFields = [...this.#managed.values()];
    return {
      name: 'node-1',
      uid,
      resourceVersion: String(this.#version),
      labels,
      annotations,
      managedFields,
    };
  }

  /** The event of a watch of whole objects or of metadata only. */
  event(type: string, whole: boolean): object {
    const partial = { kind: 'PartialObjectMetadata', metadata: this.metadata };
    return { type, object: whole ? this.whole : partial };
  }

  /** What somebody else does to the Node; `manager` is who. */
  change(act: (node: this) => void, manager = 'kubectl-edit'): void {
    const before = [own(this.conditions), JSON.stringify(this.taints)];
    act(this);
    if (own(this.conditions) !== before[0]) this.#manage(manager, 'status');
    if (JSON.stringify(this.taints) !== before[1]) this.#manage(manager, 'spec');
    this.#bump('MODIFIED');
  }

  delete(): void {
    this.exists = false;
    this.#bump('DELETED');
  }

  /** A new Node of the same name, with nothing of the old. */
  recreate(uid: string): void {
    Object.assign(this, { uid, exists: true, labels: {}, annotations: {}, taints: [], conditions: [] });
    this.#managed.clear();
    this.#bump('ADDED');
  }

  /** The store is restored from a backup: older labels, of an older version. Nobody is told before the next watch begins. */
  restore(labels: Texts, version: number): void {
    this.labels = labels;
    this.#version = version;
  }

  /** Takes a patch, unless it was made for another version of the Node. */
  patch({ metadata = {}, spec, status }: Patch, manager: string): boolean {
    const { resourceVersion = String(this.#version) } = metadata;
    if (resourceVersion !== String(this.#version)) return false;
    this.change((node) => {
      merge(node.labels, metadata.labels);
      merge(node.annotations, metadata.annotations);
      if (spec?.taints !== undefined) node.taints = spec.taints;
      for (const { $patch, ...condition } of status?.conditions ?? []) {
        const others = node.conditions.filter(({ type }) => type !== condition.type);
        node.conditions = $patch === 'delete' ? others : [...others, condition as Condition];
      }
    }, manager);
    return true;
  }

  #bump(type: string): void {
    this.#version++;
    this.onChange(type);
  }

  /** The last to write a field is its manager, and nobody else. */
  #manage(manager: string, part: 'spec' | 'status'): void {
    const fields = {
      spec: { 'f:spec': { 'f:taints': {} } },
      status: { 'f:status': { 'f:conditions': { 'k:{"type":"GVisorReady"}': { 'f:status': {} } } } },
    };
    this.#managed.set(part, {
      manager,
      operation: 'Update',
      ...(part === 'status' ? { subresource: part } : {}),
      time: String(this.#version),
      fieldsV1: fields[part],
    });
  }
}

function merge(texts: Texts, changes: Readonly<Record<string, string | null>> = {}): void {
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete texts[key];
    else texts[key] = value;
  }
}

/** The conditions that are the agent's: the kubelet's have a manager of their own. */
function own(conditions: readonly Condition[]): string {
  return JSON.stringify(conditions.filter(({ type }) => type === 'GVisorReady'));
}
