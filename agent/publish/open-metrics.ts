/**
 * Prometheus text as OpenMetrics 1.0: a counter's family is named without "_total", no line is empty, and
 * the end is marked. Not left to prom-client, which renames the counters of the registry for good.
 * Source: https://github.com/prometheus/OpenMetrics/blob/main/legacy/specification/OpenMetrics.md
 */
export function openMetrics(text: string): string {
  const families = text.replace(
    /^# HELP (\S+)_total (.*)\n# TYPE \S+ counter$/gm,
    '# HELP $1 $2\n# TYPE $1 counter',
  );
  return `${families.replace(/\n{2,}/g, '\n')}# EOF\n`;
}
