/** A Node with its managed fields is some tens of KiB; no object of the API is larger than a few MiB. */
const LONGEST = 8 * 2 ** 20;

/** The JSON values of a stream that has one a line. Throws on a line that is none, or that does not end. */
export async function* jsonLines(stream: AsyncIterable<Uint8Array>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LONGEST) throw new Error(`A line of a watch is longer than ${LONGEST} characters`);
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line) as unknown;
  }
}
