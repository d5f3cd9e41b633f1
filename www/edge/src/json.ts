/** Where a text stops being JSON: engines tell the place in different words, or not at all. */

const SPACE = /[ \t\n\r]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON's strings must not have them
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;
/** Deeper nesting is a mistake, so that a hostile text cannot exhaust the stack. */
const MAX_DEPTH = 100;

/** The offset (UTF-16 units) of the first mistake, or -1 if the text is JSON. */
export function mistakeAt(text: string): number {
  let at = 0;
  const eat = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const eatChar = (char: string): boolean => {
    eat(SPACE);
    if (text[at] !== char) return false;
    at++;
    return true;
  };
  const list = (end: string, item: () => boolean): boolean => {
    if (eatChar(end)) return true;
    do {
      if (!item()) return false;
    } while (eatChar(','));
    return eatChar(end);
  };
  const value = (depth: number): boolean => {
    eat(SPACE);
    if (depth > MAX_DEPTH) return false;
    if (eatChar('{')) return list('}', () => (eat(SPACE), eat(STRING)) && eatChar(':') && value(depth + 1));
    if (eatChar('[')) return list(']', () => value(depth + 1));
    return eat(STRING) || eat(SCALAR);
  };
  if (!value(0)) return at;
  eat(SPACE);
  return at === text.length ? -1 : at;
}

/** `line L, column C (offset N)`, counted from 1, of an offset. */
export function placeOf(text: string, offset: number): string {
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  return `line ${line}, column ${offset - before.lastIndexOf('\n')} (offset ${offset})`;
}
