/** How pieces that stand side by side are read: as words apart, and as one word. */

const LETTER_BEFORE = /[\p{L}\p{M}\p{N}]$/u;
const LETTER_AFTER = /^[\p{L}\p{M}\p{N}]/u;

/** The pieces as one text, a blank between them. Where they would run into one word, a second line reads them without a
 * break: nobody knows how the next reader joins them. */
export function asRead(pieces: readonly string[]): string {
  let spaced = '';
  let runsOn = false;
  pieces.forEach((piece, at) => {
    runsOn ||= LETTER_AFTER.test(piece) && LETTER_BEFORE.test(pieces[at - 1] ?? '');
    spaced += (at === 0 || /\s$/.test(spaced) || /^\s/.test(piece) ? '' : ' ') + piece;
  });
  return runsOn ? `${spaced}\n${pieces.join('')}` : spaced;
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
