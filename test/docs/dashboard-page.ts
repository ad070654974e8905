import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Panel } from '../monitoring/dashboard.ts';
import { chartOf, thresholdColor } from './dashboard-charts.ts';
import type { DashboardData } from './dashboard-data.ts';

/** How many pixels a unit of the dashboard's grid is high; 24 units are as wide as the page. */
const UNIT = 27;

/** A page (HTML) that draws panels from recorded answers in the places that the dashboard gives them. */
export async function dashboardPage(panels: readonly Panel[], data: DashboardData): Promise<string> {
  const main = createRequire(import.meta.url).resolve('chart.js');
  const library = await readFile(join(main, '../chart.umd.min.js'), 'utf8');
  const top = Math.min(...panels.map(({ gridPos }) => gridPos.y));
  const charts = panels.map((panel) => chartOf(panel, data));
  const bodies = panels.map((panel, index) => {
    const { x, y, w, h } = panel.gridPos;
    const place = `left:${(x / 24) * 100}%;top:${(y - top) * UNIT}px;width:${(w / 24) * 100}%;height:${h * UNIT}px`;
    const chart = `<div class="chart"><canvas id="c${index}"></canvas></div>`;
    const body = charts[index] === undefined ? written(panel, data) : chart;
    return `<section style="${place}"><div><h2>${markup(panel.title)}</h2>${body}</div></section>`;
  });
  const height = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h - top)) * UNIT;
  return `<!doctype html><style>${STYLE}main{height:${height}px}</style><main>${bodies.join('')}</main>
<script>${library}</script><script>
${JSON.stringify(charts)}.forEach((chart, index) => chart && new Chart('c' + index, chart));
</script>`;
}

const STYLE = `body{margin:0;background:#f4f5f5;font:12px "DejaVu Sans",sans-serif;color:#24292e}main{position:relative;margin:4px}
section{position:absolute;box-sizing:border-box;padding:3px}section>div{box-sizing:border-box;height:100%;background:#fff;
border:1px solid #dcdee0;padding:6px 8px;display:flex;flex-direction:column;overflow:hidden}h2{font-size:11px;margin:0 0 4px}
.chart{flex:1;min-height:0;position:relative}.stat{flex:1;display:flex;align-items:center;justify-content:center;color:#fff;
font-size:26px;font-weight:700;border-radius:2px}.none{background:#f4f5f5;color:#8e8e8e;font-size:14px}
table{border-collapse:collapse;width:100%;font-size:11px}td,th{text-align:left;padding:3px 6px;border-bottom:1px solid #e8e9ea}`;

/** A number or a table. */
function written(panel: Panel, data: DashboardData): string {
  if (panel.type === 'table') return table(panel, data);
  const [target] = panel.targets;
  const value = data.answers[target?.expr ?? '']?.[0]?.values.at(-1)?.[1];
  if (value === undefined) return '<div class="stat none">No data</div>';
  const text = inUnit(Number(value), panel.fieldConfig.defaults.unit);
  return `<div class="stat" style="background:${thresholdColor(panel, Number(value))}">${text}</div>`;
}

function inUnit(value: number, unit = 'short'): string {
  if (unit === 'percentunit') return `${Math.round(value * 1_000) / 10}%`;
  return unit === 's' ? `${Math.round(value)} s` : String(Math.round(value * 100) / 100);
}

/** The answers of all targets as one table with a row for each set of equal labels, as Grafana's `merge` and `organize` make it. */
function table({ targets, transformations = [] }: Panel, { answers }: DashboardData): string {
  const { excludeByName = {}, renameByName = {} } =
    transformations.find(({ id }) => id === 'organize')?.options ?? {};
  const rows: Record<string, string>[] = [];
  for (const { expr, refId } of targets) {
    for (const { metric, values } of answers[expr] ?? []) {
      const row = rows.find((each) =>
        Object.entries(metric).every(([name, is]) => (each[name] ?? is) === is),
      );
      const value = String(Math.round(Number(values.at(-1)?.[1])));
      const cells = { ...metric, [targets.length === 1 ? 'Value' : `Value #${refId}`]: value };
      if (row === undefined) rows.push(cells);
      else Object.assign(row, cells);
    }
  }
  const columns = [...new Set(rows.flatMap(Object.keys))].filter((name) => !excludeByName[name]);
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${markup(cell)}</${tag}>`).join('')}</tr>`;
  const head = line(
    columns.map((name) => renameByName[name] ?? name),
    'th',
  );
  const sorted = rows.toSorted((a, b) => (a.node ?? '').localeCompare(b.node ?? ''));
  return `<table>${head}${sorted
    .map((row) =>
      line(
        columns.map((name) => row[name] ?? ''),
        'td',
      ),
    )
    .join('')}</table>`;
}

function markup(text: string): string {
  return text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
}
