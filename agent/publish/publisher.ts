import type { Report } from '../report.ts';

/** Hears of every report; what it does with it, and whether it changed, is its own affair. It never throws. */
export type Publisher = { readonly name: string; publish(report: Report): void };
