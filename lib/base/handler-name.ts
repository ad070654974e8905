const NAME = '[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?';

export const HANDLER_NAME = new RegExp(`^${NAME}$`);

/** Several, with commas. */
export const HANDLER_LIST = new RegExp(`^${NAME}( *, *${NAME})*$`);

/** The names in a list of handlers, the main one first. */
export function splitHandlers(list: string): readonly [main: string, ...additional: string[]] {
  const [main = '', ...additional] = list.split(',').map((each) => each.trim());
  return [main, ...additional];
}
