import type { Report } from './report.ts';

/** Hears of every report; what it does with it, and whether it changed, is its own affair. It never throws. */
export type Publisher = {
  /** A report with a settled verdict. */
  publish(report: Report): void;
  /** Every look, also one before the first verdict is settled, when what a predecessor published still stands. */
  count?(report: Report): void;
};
