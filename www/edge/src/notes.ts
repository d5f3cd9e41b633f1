/** What does not grow in a stream: names of fields, and what stands beside the choices. It is judged at once, all of a
 * place again when something new comes there. */

import { asRead, type Piece } from 'rsafe/walk';

import { Flagged } from './completion.ts';
import { HttpError } from './http.ts';
import type { Judge } from './judge.ts';

/** Different texts of one place, above which a stream is given up. */
const MOST = 32;

export class Notes {
  readonly #judge: Judge;
  readonly #places = new Map<string, Set<string>>();

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** @throws Flagged, HttpError `upstream` */
  async read(pieces: readonly Piece[]): Promise<void> {
    const changed = new Set<string>();
    for (const { place, text } of pieces) {
      const texts = this.#places.get(place) ?? new Set();
      this.#places.set(place, texts);
      if (!texts.has(text)) changed.add(place);
      if (texts.add(text).size > MOST) {
        throw new HttpError(502, 'upstream', `the upstream sent more than ${MOST} different texts as \`${place}\``);
      }
    }
    for (const place of changed) {
      const verdict = await this.#judge.response([], asRead([...(this.#places.get(place) ?? [])]));
      if (verdict) throw new Flagged(verdict);
    }
  }
}
