/** A gVisor release as numbers that can be ordered, or `unknown` for a text that names none. */
export type RunscRelease =
  | { readonly kind: 'release'; readonly date: number; readonly point: number; readonly text: string }
  | { readonly kind: 'unknown'; readonly text: string };

/**
 * Reads every known form of a gVisor version: `release-20260817.0`, the same with `-70-g3c5eee17dc45` or
 * `-dirty` behind it, Google's own `google-20260817.0`, Debian's `0.0~20240729.0`, a bare `20220516.0`.
 * A plain `go build` says `VERSION_MISSING`, which is unknown.
 * https://github.com/google/gvisor/blob/master/runsc/config/config.go
 */
export function parseRunscRelease(text: string): RunscRelease {
  const trimmed = text.trim();
  const match =
    /^(?:release-|g[a-z]*-|0\.0~|v)?(\d{8})(?:\.(\d{1,6}))?(?:-\d+-g[0-9a-f]+)?(?:[-+~][0-9A-Za-z.+~-]*)?$/.exec(
      trimmed,
    );
  const date = match?.[1] ?? '';
  if (!isDate(date)) return { kind: 'unknown', text: trimmed };
  return { kind: 'release', date: Number(date), point: Number(match?.[2] ?? 0), text: trimmed };
}

/** Below 0 when `a` is older than `b`, above 0 when newer; `undefined` when one of them is unknown. */
export function compareReleases(a: RunscRelease, b: RunscRelease): number | undefined {
  if (a.kind === 'unknown' || b.kind === 'unknown') return undefined;
  return a.date - b.date || a.point - b.point;
}

function isDate(digits: string): boolean {
  const date = Date.parse(digits.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3'));
  return date >= Date.UTC(2018);
}
