/** How pieces that stand side by side are read: as words apart, and as one word. */

const LETTER_BEFORE = /[\p{L}\p{M}\p{N}]$/u;
const LETTER_AFTER = /^[\p{L}\p{M}\p{N}]/u;

/** Whether two pieces would run into one word. */
const isSeam = (left: string, right: string): boolean => LETTER_BEFORE.test(left) && LETTER_AFTER.test(right);

/** The pieces as one text, a blank between them. Where they would run into one word, a second line reads them without a
 * break: nobody knows how the next reader joins them. */
export function asRead(pieces: readonly string[]): string {
  let spaced = '';
  let seams = 0;
  pieces.forEach((piece, at) => {
    const before = pieces[at - 1];
    if (before !== undefined && isSeam(before, piece)) seams++;
    const apart = at > 0 && !/\s$/.test(spaced) && !/^\s/.test(piece);
    spaced += (apart ? ' ' : '') + piece;
  });
  return seams === 0 ? spaced : `${spaced}\n${pieces.join('')}`;
}

/** Whether a text has no letter, digit or sign in it: nothing to judge. */
export const isWordless = (text: string): boolean => !/[^\s\p{P}]/u.test(text);

/** Characters (UTF-16 units) at either end of a long piece that are read along with its neighbours. */
export const EDGE = 400;

/** Whether a piece is so long that its middle is out of its neighbours' reach, and so judged for itself. */
export const isLong = (piece: string): boolean => piece.length > 2 * EDGE;

/** A piece as its neighbours see it. */
export const ends = (piece: string): string =>
  isLong(piece) ? `${piece.slice(0, EDGE)}\n…\n${piece.slice(-EDGE)}` : piece;
