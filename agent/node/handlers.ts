import type { Verdict } from '../verdict.ts';
import {
  type DesiredEntry,
  entry,
  handlerKey,
  handlerLabels,
  type NodeMetadata,
  type NodeObject,
  OWN_KEYS,
  otherBoot,
} from './object.ts';

/** The published verdict of each additional handler; undefined before its first. */
export type HandlerVerdicts = ReadonlyMap<string, Verdict | undefined>;

/**
 * The desired labels and annotations of a Node for its additional handlers. As for the main handler, a proof is valid only in
 * the boot in which it was made, and is withheld while the kubelet reports another. The keys of handlers that are no
 * longer proven are removed.
 */
export function desiredHandlers(
  verdicts: HandlerVerdicts,
  node: NodeObject,
  boot: string,
): readonly DesiredEntry[] {
  const { metadata } = node;
  const { annotations = {} } = metadata;
  const labels = handlerLabels(metadata);
  const isWithheld = otherBoot(node, boot) !== undefined;
  const label = (handler: string, isProven: boolean) =>
    entry('labels', handlerKey('ready', handler), String(isProven));
  const wanted = [...verdicts].flatMap(([handler, verdict]) => {
    const provenBoot = handlerKey('provenBoot', handler);
    if (verdict === undefined)
      return labels.get(handler) === 'true' && annotations[provenBoot] !== boot
        ? [label(handler, false)]
        : [];
    if (verdict.status !== 'True' || isWithheld) return [label(handler, false)];
    return [label(handler, true), entry('annotations', provenBoot, boot)];
  });
  const isRetired = (handler: string) => !verdicts.has(handler);
  return [
    ...wanted,
    ...[...labels.keys()]
      .filter(isRetired)
      .map((handler) => entry('labels', handlerKey('ready', handler), null)),
    ...handlersProvenOnce(metadata)
      .filter(isRetired)
      .map((handler) => entry('annotations', handlerKey('provenBoot', handler), null)),
  ];
}

/** The handlers of which a Node records that they were ever proven. */
export function handlersProvenOnce({
  annotations = {},
}: Pick<NodeMetadata, 'annotations'>): readonly string[] {
  const { provenBoot } = OWN_KEYS.prefixes;
  const own = Object.keys(annotations).filter((key) => key.startsWith(provenBoot));
  return own.map((key) => key.slice(provenBoot.length));
}
