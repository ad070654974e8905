/** Why a look begins. `confirm` is the second look after a failure; `boot` is the end of a boot that outlasted a look. */
export type Trigger =
  | { readonly kind: 'start' | 'timer' | 'confirm' | 'boot' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'containerd'; readonly is: 'gone' | 'back' };

/** The trigger in words, for people: "file /usr/local/bin/runsc", "containerd is gone". */
export function triggerText(trigger: Trigger): string {
  if (trigger.kind === 'file') return `file ${trigger.path}`;
  if (trigger.kind === 'containerd') return `containerd is ${trigger.is}`;
  return trigger.kind;
}

/** Whether something happened on the node: a timer, a second look and the end of a boot change nothing there. */
export function isChange({ kind }: Trigger): boolean {
  return kind === 'start' || kind === 'file' || kind === 'containerd';
}
