export type FakeCondition = Readonly<Record<string, string>>;
export type FakeTaint = { readonly key: string; readonly effect: string; readonly value?: string };
type Texts = Record<string, string>;
type Managed = {
  readonly manager: string;
  readonly operation: 'Update';
  readonly subresource?: 'status';
  readonly time: string;
  readonly fieldsV1: object;
};

export type NodePatch = {
  metadata?: {
    resourceVersion?: string;
    labels?: Record<string, string | null>;
    annotations?: Record<string, string | null>;
  };
  spec?: { taints?: FakeTaint[] };
  status?: { conditions?: (FakeCondition & { $patch?: 'delete' })[] };
};

/** A Node as the API server stores it: versions, patches, managed fields, and watch events. */
export class FakeNode {
  labels: Texts = {};
  annotations: Texts = {};
  taints: FakeTaint[] = [];
  conditions: FakeCondition[] = [];
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

  /** A change by another client, whose field manager is `manager`. */
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

  /** Replaces the Node by a new one of the same name. */
  recreate(uid: string): void {
    Object.assign(this, { uid, exists: true, labels: {}, annotations: {}, taints: [], conditions: [] });
    this.#managed.clear();
    this.#bump('ADDED');
  }

  /** Restores older labels and an older version, as etcd from a backup; only the next watch shows it. */
  restore(labels: Texts, version: number): void {
    this.labels = labels;
    this.#version = version;
  }

  /** Applies a patch unless it was made for another version. */
  patch({ metadata = {}, spec, status }: NodePatch, manager: string): boolean {
    const { resourceVersion = String(this.#version) } = metadata;
    if (resourceVersion !== String(this.#version)) return false;
    this.change((node) => {
      merge(node.labels, metadata.labels);
      merge(node.annotations, metadata.annotations);
      if (spec?.taints !== undefined) node.taints = spec.taints;
      for (const { $patch, ...condition } of status?.conditions ?? []) {
        const others = node.conditions.filter(({ type }) => type !== condition.type);
        node.conditions = $patch === 'delete' ? others : [...others, condition as FakeCondition];
      }
    }, manager);
    return true;
  }

  #bump(type: string): void {
    this.#version++;
    this.onChange(type);
  }

  /** Records the field manager of the last write. */
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

/** The agent's conditions. */
function own(conditions: readonly FakeCondition[]): string {
  return JSON.stringify(conditions.filter(({ type }) => type === 'GVisorReady'));
}
