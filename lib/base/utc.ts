/** "2026-11-24 09:41:07 UTC", of an ISO 8601 time. */
export function formatUtc(at: string): string {
  return at.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');
}
