/** An ISO 8601 time as "2026-11-24 09:41:07 UTC". */
export function formatUtc(at: string): string {
  return at.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');
}
