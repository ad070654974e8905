import type { Outcome } from '../proof/outcome.ts';
import type { Verdict } from '../verdict.ts';

/** What is shorter may be said twice. */
const SHORT = 60;

/** Long texts of one page or table, each said once: an error is read at its first place, whatever ids it names. */
export class Told {
  readonly #texts: string[] = [];

  /** The text, or where to read it when it has been told. */
  tell(text: string): string {
    if (text.length > SHORT && this.has(text)) return 'as said above';
    this.note(text);
    return text;
  }

  /** Whether a text that was told holds this one. */
  has(text: string): boolean {
    const wanted = withoutIds(text);
    return this.#texts.some((told) => told.includes(wanted));
  }

  /** Takes note of a text that is told in parts. */
  note(text: string): void {
    this.#texts.push(withoutIds(text));
  }
}

/** The cause that a verdict names, without the words of containerd behind it: those are the proof's. */
export function causeOf({ message }: Verdict, proof: Outcome): string {
  const words = `; ${withoutIds(proof.message)}`;
  return withoutIds(message).endsWith(words) ? message.slice(0, -words.length) : message;
}

/** Each attempt has a sandbox of another id. */
function withoutIds(text: string): string {
  return text.replace(/\b[0-9a-f]{64}\b/g, 'x'.repeat(64));
}
