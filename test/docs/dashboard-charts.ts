import type { ChartConfiguration, ChartDataset } from 'chart.js';
import type { SampleSeries } from '../../cluster/control-plane/prometheus.ts';
import type { Panel, Target } from '../monitoring/dashboard.ts';
import type { DashboardData } from './dashboard-data.ts';

const PALETTE = ['#56a64b', '#e0b400', '#3274d9', '#ff780a', '#8f3bb8', '#00a3a3', '#e02f44', '#806eb7'];

/** The colours that the dashboard names. */
export const COLORS: Readonly<Record<string, string>> = {
  green: '#56a64b',
  yellow: '#e0b400',
  orange: '#ff780a',
  red: '#e02f44',
  blue: '#3274d9',
};

/** A Chart.js configuration that survives JSON: no functions. */
type Chart = ChartConfiguration<'bar' | 'line' | 'scatter', unknown[]>;

/** The name of a series as its legend has it, without the labels that are empty. */
export function legend({ legendFormat = '' }: Target, { metric }: SampleSeries): string {
  return (
    legendFormat
      .replaceAll(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? '')
      .replaceAll(/ +/g, ' ')
      .trim() || 'value'
  );
}

/** The colour of the last threshold that a value reaches. */
export function thresholdColor({ fieldConfig }: Panel, value: number): string {
  const steps = fieldConfig.defaults.thresholds?.steps ?? [];
  const reached = steps.findLast((step) => step.value === null || step.value <= value);
  return COLORS[reached?.color ?? ''] ?? '#8e8e8e';
}

/** What draws a panel's answers; undefined for panels that are numbers or tables. */
export function chartOf(panel: Panel, data: DashboardData): Chart | undefined {
  const named = panel.targets.flatMap((target) =>
    (data.answers[target.expr] ?? []).map((series) => ({ name: legend(target, series), series })),
  );
  const minutes = (time: number) => (time - data.end) / 60;
  switch (panel.type) {
    case 'timeseries':
      return overTime(panel, named, minutes);
    case 'state-timeline':
      return states(panel, named, minutes);
    case 'heatmap':
      return heatmap(named, minutes);
    case 'bargauge':
      return bars(named);
    default:
      return undefined;
  }
}

type Named = readonly { readonly name: string; readonly series: SampleSeries }[];
type Minutes = (time: number) => number;

const FONT = { size: 10 };
const X = {
  type: 'linear',
  max: 0,
  title: { display: true, text: 'minutes', font: FONT },
  ticks: { font: FONT, maxTicksLimit: 8 },
  grid: { display: false },
} as const;

function options(scales: object, showLegend: boolean) {
  const plugins = {
    legend: { display: showLegend, position: 'bottom', labels: { boxWidth: 8, font: FONT } },
  };
  return { animation: false, maintainAspectRatio: false, plugins, scales } as Chart['options'] & object;
}

function overTime(panel: Panel, named: Named, minutes: Minutes): Chart {
  const { unit, custom = {} } = panel.fieldConfig.defaults;
  const scale = unit === 'bytes' ? 1 / 2 ** 20 : 1;
  const stacked = custom.stacking !== undefined;
  const type = custom.drawStyle === 'bars' ? 'bar' : 'line';
  const times = [...new Set(named.flatMap(({ series }) => series.values.map(([time]) => time)))].sort(
    (a, b) => a - b,
  );
  const datasets = named.map(({ name, series }, index): ChartDataset<typeof type, unknown[]> => {
    const color = PALETTE[index % PALETTE.length] ?? '';
    const at = new Map(series.values);
    const points = type === 'bar' ? [...at.keys()] : times;
    const data = points.map((time) => ({ x: minutes(time), y: Number(at.get(time) ?? Number.NaN) * scale }));
    return {
      label: name,
      data,
      borderColor: color,
      backgroundColor: `${color}${stacked ? '80' : '20'}`,
      fill: stacked ? 'stack' : 'origin',
      ...STROKE,
    };
  });
  const title = {
    display: unit !== undefined && unit !== 'short',
    text: unit === 'bytes' ? 'MiB' : unit,
    font: FONT,
  };
  const y = { min: 0, stacked, title, ticks: { font: FONT } };
  return { type, data: { datasets }, options: options({ x: { ...X, stacked }, y }, true) };
}
const STROKE = { borderWidth: 1.5, pointRadius: 0, barThickness: 6 } as const;

/** A bar from each change of a series to the next. */
function states(panel: Panel, named: Named, minutes: Minutes): Chart {
  const spans = named.flatMap(({ name, series: { values } }) => {
    const changes = values.filter(([, value], index) => index === 0 || value !== values[index - 1]?.[1]);
    return changes.map(([time, value], index) => {
      const [until] = changes[index + 1] ?? values.at(-1) ?? [time];
      return { x: [minutes(time), minutes(until)], y: name, color: thresholdColor(panel, Number(value)) };
    });
  });
  const data = {
    labels: [...new Set(named.map(({ name }) => name))],
    datasets: [{ data: spans, backgroundColor: spans.map(({ color }) => color), barPercentage: 0.9 }],
  };
  const scales = {
    x: { ...X, min: Math.min(...spans.map(({ x: [from = 0] }) => from)) },
    y: { ticks: { font: FONT } },
  };
  return { type: 'bar', data, options: { ...options(scales, false), indexAxis: 'y' } };
}

/** A square for each bucket and time, the darker the more it counted. */
function heatmap(named: Named, minutes: Minutes): Chart {
  const buckets = named.toSorted((a, b) => bound(a.name) - bound(b.name));
  const cells = buckets.flatMap(({ name, series }, index) => {
    const below = new Map(buckets[index - 1]?.series.values ?? []);
    return series.values.map(([time, value]) => ({
      x: minutes(time),
      y: name,
      count: Number(value) - Number(below.get(time) ?? 0),
    }));
  });
  const seen = cells.filter(({ count }) => count > 0.01);
  const most = Math.max(...seen.map(({ count }) => count));
  const shade = (count: number) => Math.round(40 + 215 * Math.sqrt(count / most)).toString(16);
  const used = new Set(seen.map(({ y }) => y));
  const dataset = {
    data: seen,
    backgroundColor: seen.map(({ count }) => `#d9540a${shade(count)}`),
    borderWidth: 0,
    pointStyle: 'rect',
    radius: 7,
  } as const;
  const labels = buckets.map(({ name }) => name).filter((name) => used.has(name));
  const y = { type: 'category', labels, reverse: true, offset: true, ticks: { font: FONT } };
  return { type: 'scatter', data: { datasets: [dataset] }, options: options({ x: X, y }, false) };
}

function bound(le: string): number {
  return le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le);
}

function bars(named: Named): Chart {
  const values = named.map(({ series }) => Number(series.values.at(-1)?.[1]));
  const colors = named.map((_, index) => PALETTE[index % PALETTE.length] ?? '');
  const data = {
    labels: named.map(({ name }) => name),
    datasets: [{ data: values, backgroundColor: colors }],
  };
  const scales = { x: { min: 0, ticks: { font: FONT, precision: 0 } }, y: { ticks: { font: FONT } } };
  return { type: 'bar', data, options: { ...options(scales, false), indexAxis: 'y' } };
}
