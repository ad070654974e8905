/** No page of an agent is larger. */
const LONGEST = 4 * 2 ** 20;

/** The body of an agent's answer; undefined where it is too long, as one of a node that was taken over may be. */
export async function readSome(answer: Response, most = LONGEST): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += chunk.length;
    if (length > most) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
