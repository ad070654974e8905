/** The first characters of what a node that was taken over may make long; a copy, since a part would keep the whole in memory. */
export function cut(text: string, most: number): string {
  return text.length <= most ? text : Buffer.from(text.slice(0, most)).toString();
}
