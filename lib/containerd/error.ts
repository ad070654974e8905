export class CriError extends Error {
  override readonly name = 'CriError';
  /** `refused` is containerd's own error; `unreachable`: nothing that speaks this API listens on the socket. */
  readonly kind: 'unreachable' | 'timeout' | 'refused' | 'absent' | 'unsupported' | 'aborted';

  constructor(method: string, kind: CriError['kind'], why: string) {
    super(kind === 'refused' ? why : `containerd's ${method}: ${why}`);
    this.kind = kind;
  }
}

/** containerd answers without the plugin that starts pods. */
export class CriPluginUnavailable extends Error {
  override readonly name = 'CriPluginUnavailable';
}
