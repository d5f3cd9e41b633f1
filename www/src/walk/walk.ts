/** The walk: every string of a JSON value, at every depth, the names of fields among them, save what the allow-list lets
 * pass. The same for requests and answers, whole and in pieces. */

import { isKnownName, isMedia, isNumeral, mayList, mayListNumbers, passes } from './fields.ts';
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

export interface WalkOptions {
  /** Names of fields whose contents are not looked at. */
  pass?: ReadonlySet<string>;
  /** Where the value stands: a name such as `message`. */
  at?: string;
}

/** Deeper values, and values with more pieces, are refused. */
const MAX_DEPTH = 48;
const MAX_PIECES = 8_192;

const NONE: ReadonlySet<string> = new Set();

/** The pieces of a value, in its order.
 * @throws Unreadable for pictures, sounds and files, lists of numbers, and what is too deep or too much. */
export function walk(value: unknown, { pass = NONE, at = '' }: WalkOptions = {}): Piece[] {
  const pieces: Piece[] = [];

  const add = (place: string, path: string, text: string, named: boolean) => {
    if (pieces.length >= MAX_PIECES) throw new Unreadable(place, path, `is one of more than ${MAX_PIECES} texts`);
    pieces.push({ place, path, text, named });
  };

  const visit = (value: unknown, name: string, place: string, path: string, depth: number): void => {
    if (value === null || value === undefined) return;
    if (isMedia(name)) throw new Unreadable(place, path, 'cannot be judged, only text');
    if (typeof value === 'string') {
      if (/^\s*data:[^,\s]*,/i.test(value)) throw new Unreadable(place, path, 'is a data: address, which cannot be judged');
      if (!passes(name, value)) add(place, path, value, false);
    }
    if (typeof value !== 'object') return;
    if (depth >= MAX_DEPTH) throw new Unreadable(place, path, `is nested more than ${MAX_DEPTH} deep`);
    if (Array.isArray(value)) {
      if (value.some((item) => typeof item === 'number') && !mayListNumbers(name)) {
        throw new Unreadable(place, path, 'is a list of numbers, which may stand for text');
      }
      for (const [at, item] of value.entries()) {
        visit(item, mayList(name) ? name : '', `${place}[]`, `${path}[${positionOf(item, at)}]`, depth + 1);
      }
      return;
    }
    for (const [field, inner] of Object.entries(value)) {
      if (pass.has(field)) continue;
      const known = isKnownName(field) || (name === 'logit_bias' && isNumeral(field));
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
