/** One runtime handler, as the running containerd holds it in memory or would read it from disk. */
export type Runtime = {
  /** For example "io.containerd.runsc.v1". */
  readonly runtimeType: string;
  /** Absolute path of the shim, or "" when containerd looks it up by the type's name. */
  readonly runtimePath: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly snapshotter: string;
  /** Patterns of pod annotations that reach the OCI spec, as Go's path.Match reads them. */
  readonly podAnnotations: readonly string[];
};

/**
 * What CRI `Status(verbose)` and `Version` say of the running containerd.
 * Only these fields are kept: the blob of containerd 1.x can carry registry credentials.
 */
export type CriStatus = {
  /** "containerd". */
  readonly runtimeName: string;
  /** As reported, for example "v2.4.2" or "1.7.24~ds1". */
  readonly runtimeVersion: string;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly conditions: readonly { type: string; status: boolean; reason: string; message: string }[];
};

/** What containerd (2.0 and newer) answers when it resolves and executes a shim itself. */
export type ShimInfo =
  | { readonly kind: 'ok'; readonly name: string }
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'unsupported' };
