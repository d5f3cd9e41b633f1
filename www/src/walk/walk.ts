/** The walk: every string of a JSON value, at every depth, the names of fields among them, save what its rules let pass.
 * The same for requests and answers, whole and in pieces. */

import { isWordless } from './reading.ts';

/** A string that must be judged. */
export interface Piece {
  /** Where it stands, in words of ours: known names, `[]` for an item of a list, `*` for a name of the sender's own.
   * Pieces of one place are parts of one text, in their order. */
  place: string;
  /** Where it stands exactly, and so which of a stream's pieces continue each other. It may quote the sender. */
  path: string;
  text: string;
  /** Whether it is the name of a field. */
  named: boolean;
}

/** Something that is not text, or that nobody can say it is not. */
export class Unreadable extends Error {
  readonly place: string;
  readonly path: string;
  /** What is wrong there, without a word of the sender. */
  readonly what: string;

  constructor(place: string, path: string, what: string) {
    super(`${place || 'the value'} ${what}`);
    this.name = 'Unreadable';
    this.place = place;
    this.path = path;
    this.what = what;
  }
}

/** What need not be judged, and what cannot be. Names are those of fields; of the items of a list, `''`. */
export interface WalkRules {
  /** Whether the contents of a field are not looked at. */
  skips(name: string): boolean;
  /** Whether a name is an API's own, under the name of the field that holds it. Any other is the sender's word. */
  knows(name: string, under: string): boolean;
  /** Whether a field holds pictures, sounds or files. */
  isMedia(name: string): boolean;
  /** Whether a string under a name passes unread. */
  passes(name: string, value: string): boolean;
  /** Whether the strings of a list pass as its name lets them, and whether it may hold numbers. */
  mayList(name: string): boolean;
  mayListNumbers(name: string): boolean;
}

/** Deeper values, and values with more pieces, are refused. */
const MAX_DEPTH = 48;
const MAX_PIECES = 8_192;

/** The pieces of a value, in its order. `at` is where it stands: a name such as `message`.
 * @throws Unreadable for pictures, sounds and files, lists of numbers, and what is too deep or too much. */
export function walkBy(rules: WalkRules, value: unknown, at = ''): Piece[] {
  const pieces: Piece[] = [];

  const add = (place: string, path: string, text: string, named: boolean) => {
    if (pieces.length >= MAX_PIECES) throw new Unreadable(place, path, `is one of more than ${MAX_PIECES} texts`);
    pieces.push({ place, path, text, named });
  };

  const visit = (value: unknown, name: string, place: string, path: string, depth: number): void => {
    if (value === null || value === undefined) return;
    if (rules.isMedia(name)) throw new Unreadable(place, path, 'cannot be judged, only text');
    if (typeof value === 'string') {
      if (/^\s*data:[^,\s]*,/i.test(value))
        throw new Unreadable(place, path, 'is a data: address, which cannot be judged');
      if (!rules.passes(name, value)) add(place, path, value, false);
    }
    if (typeof value !== 'object') return;
    if (depth >= MAX_DEPTH) throw new Unreadable(place, path, `is nested more than ${MAX_DEPTH} deep`);
    if (Array.isArray(value)) {
      if (value.some((item) => typeof item === 'number') && !rules.mayListNumbers(name)) {
        throw new Unreadable(place, path, 'is a list of numbers, which may stand for text');
      }
      for (const [at, item] of value.entries()) {
        visit(item, rules.mayList(name) ? name : '', `${place}[]`, `${path}[${positionOf(item, at)}]`, depth + 1);
      }
      return;
    }
    for (const [field, inner] of Object.entries(value)) {
      if (rules.skips(field)) continue;
      const known = rules.knows(field, name);
      const inPlace = known ? join(place, field) : join(place, '*');
      const inPath = join(path, field);
      if (!known && !isWordless(field)) add(`${inPlace}{}`, inPath, field, true);
      visit(inner, known ? field : '', inPlace, inPath, depth + 1);
    }
  };

  visit(value, at, at, at, 0);
  return pieces;
}

const join = (place: string, name: string): string => (place === '' ? name : `${place}.${name}`);

/** An item of a stream's list says itself which one it continues. */
function positionOf(item: unknown, at: number): number {
  const { index } = (item ?? {}) as { index?: unknown };
  return Number.isInteger(index) ? Number(index) : at;
}

/** The texts of pieces that stand side by side: names of fields first, so that neither break up the others. */
export function sideBySide(pieces: readonly Piece[]): string[] {
  const ordered = [...pieces.filter(({ named }) => named), ...pieces.filter(({ named }) => !named)];
  return ordered.map(({ text }) => text);
}

/** The texts of the pieces by their place, names and values apart. */
export function byPlace(pieces: readonly Piece[]): Map<string, string[]> {
  const places = new Map<string, string[]>();
  for (const { place, text } of pieces) places.set(place, [...(places.get(place) ?? []), text]);
  return places;
}
