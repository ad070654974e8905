/** What became of containerd: its connection broke or came back, or it alone answers late or in time. */
export type ContainerdIs = 'gone' | 'back' | 'late' | 'in time again';

/** Why a look begins. `confirm` is the second look after a failure; `boot` is the end of a boot that outlasted a look. */
export type Trigger =
  | { readonly kind: 'start' | 'timer' | 'confirm' | 'boot' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'containerd'; readonly is: ContainerdIs };

/** The trigger in words, for people: "file /usr/local/bin/runsc", "containerd is gone". */
export function triggerText(trigger: Trigger): string {
  if (trigger.kind === 'file') return `file ${trigger.path}`;
  if (trigger.kind === 'containerd') return `containerd is ${trigger.is}`;
  return trigger.kind;
}

/** Whether something happened on the node: a timer, a late answer and the end of a boot change nothing there. */
export function isChange(trigger: Trigger): boolean {
  if (trigger.kind === 'containerd') return trigger.is === 'gone' || trigger.is === 'back';
  return trigger.kind === 'start' || trigger.kind === 'file';
}
