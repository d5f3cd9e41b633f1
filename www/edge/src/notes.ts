/** What does not grow in a stream: names of fields, and what stands beside the choices. It is judged at once, all of a
 * place again when something new comes there. */

import { asRead, type Piece } from 'rsafe/walk';

import { HttpError } from './http.ts';
import type { ChatJudge } from './judge.ts';

/** Texts of one place, above which a stream is given up. */
const MOST = 64;

export class Notes {
  readonly #judge: ChatJudge;
  /** What came, by its path, and the texts of each place. */
  readonly #seen = new Map<string, string>();
  readonly #places = new Map<string, string[]>();

  constructor(judge: ChatJudge) {
    this.#judge = judge;
  }

  /** @throws Blocked for a text that does not pass; HttpError `upstream` for one that changes: it would grow unseen. */
  async read(pieces: readonly Piece[]): Promise<void> {
    const changed = new Set<string>();
    for (const { place, path, text, named } of pieces) {
      const exactly = `${path}${named ? '{}' : ''}`;
      const before = this.#seen.get(exactly);
      if (before === text) continue;
      const texts = this.#places.get(place) ?? [];
      if (before !== undefined || texts.length >= MOST) {
        const what = before === undefined ? `more than ${MOST} texts as \`${place}\`` : `\`${place}\`, which changes`;
        throw new HttpError(502, 'upstream', `the upstream sent ${what}`);
      }
      this.#seen.set(exactly, text);
      this.#places.set(place, [...texts, text]);
      changed.add(place);
    }
    for (const place of changed) {
      await this.#judge.answered('response', [], asRead(this.#places.get(place) ?? []));
    }
  }
}
