export type FakeCondition = Readonly<Record<string, string>>;
export type FakeTaint = { readonly key: string; readonly effect: string; readonly value?: string };
type Texts = Record<string, string>;
export type NodePatch = {
  metadata?: {
    resourceVersion?: string;
    labels?: Record<string, string | null>;
    annotations?: Record<string, string | null>;
  };
  spec?: { taints?: FakeTaint[] };
  status?: { conditions?: (FakeCondition & { $patch?: 'delete' })[] };
};

/** A Node as the API server stores it: versions, patches, and watch events. */
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

  get whole(): object {
    const { metadata, taints, conditions, bootID } = this;
    return { metadata, spec: { taints }, status: { conditions, nodeInfo: { bootID } } };
  }

  get metadata(): object {
    const { uid, labels, annotations } = this;
    return { name: 'node-1', uid, resourceVersion: String(this.#version), labels, annotations };
  }

  /** The event of a watch of whole objects or of metadata only. */
  event(type: string, whole: boolean): object {
    const partial = { kind: 'PartialObjectMetadata', metadata: this.metadata };
    return { type, object: whole ? this.whole : partial };
  }

  /** A change by another client. */
  change(act: (node: this) => void): void {
    act(this);
    this.#bump('MODIFIED');
  }

  delete(): void {
    this.exists = false;
    this.#bump('DELETED');
  }

  /** Replaces the Node by a new one of the same name. */
  recreate(uid: string): void {
    Object.assign(this, { uid, exists: true, labels: {}, annotations: {}, taints: [], conditions: [] });
    this.#bump('ADDED');
  }

  /** Restores older labels and an older version, as etcd from a backup; only the next watch shows it. */
  restore(labels: Texts, version: number): void {
    this.labels = labels;
    this.#version = version;
  }

  /** Applies a patch unless it was made for another version. */
  patch({ metadata = {}, spec, status }: NodePatch): boolean {
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
    });
    return true;
  }

  #bump(type: string): void {
    this.#version++;
    this.onChange(type);
  }
}

function merge(texts: Texts, changes: Readonly<Record<string, string | null>> = {}): void {
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete texts[key];
    else texts[key] = value;
  }
}
