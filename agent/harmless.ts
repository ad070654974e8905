/**
 * All but what is neither a control character (but for tab and new line) nor turns the direction of writing: those could make a text look
 * like another. Spelt out, because \p{Cc} and \p{Bidi_Control} would load Unicode's tables: 0.3 MiB on each node.
 */
const DECEPTIVE = /[^\t\n -~\u00a0-\u061b\u061d-\u200d\u2010-\u2029\u202f-\u2065\u206a-\uffff]/g;

/** A text of the host with nothing in it that a browser or a terminal would act on. */
export function harmless(text: string): string {
  return text.toWellFormed().replace(DECEPTIVE, '\ufffd');
}

/** The same as one line, for what tells one thing a line. */
export function harmlessLine(text: string): string {
  return harmless(text).replace(/\s+/g, ' ');
}
