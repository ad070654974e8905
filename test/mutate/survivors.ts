/** Mutants that no case kills, by their id, and why that does not matter. */
export const SURVIVORS: Readonly<Record<string, string>> = {};
