/**
 * How long ago something was, as kubectl says it: "45s", "3m12s", "5h", "2d4h". "" for no time.
 * Source: https://github.com/kubernetes/apimachinery/blob/v0.36.3/pkg/util/duration/duration.go (HumanDuration)
 */
export function ageOf(since: string, nowMs: number): string {
  const at = Date.parse(since);
  if (Number.isNaN(at)) return '';
  const seconds = Math.max(0, Math.floor((nowMs - at) / 1_000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const both = (first: number, unit: string, second: number, other: string) =>
    `${first}${unit}${second === 0 ? '' : `${second}${other}`}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return both(minutes, 'm', seconds % 60, 's');
  if (hours < 3) return `${minutes}m`;
  if (hours < 8) return both(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return both(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  return `${Math.floor(days / 365)}y`;
}
