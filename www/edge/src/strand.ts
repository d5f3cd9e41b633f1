/** The pieces of one place in a streamed answer, as one growing text: joined as a stream's pieces are, and, where they are
 * items of a list, with a break between the items as well. */

import { Growing, type Watch } from './growing.ts';

/** How far a text must be released. */
export interface Need {
  text: Growing;
  upto: number;
}

export class Strand {
  readonly #watch: Watch;
  readonly joined: Growing;
  #apart: Growing | null = null;
  #path: string | undefined;

  constructor(watch: Watch) {
    this.#watch = watch;
    this.joined = new Growing(watch);
  }

  /** More text; `path` says which item it belongs to. */
  add(path: string, text: string): void {
    const other = this.#path !== undefined && this.#path !== path;
    if (other) this.#apart ??= new Growing(this.#watch, this.joined.text);
    this.#apart?.add(other ? ` ${text}` : text);
    this.joined.add(text);
    this.#path = path;
  }

  /** What must be released before all that came so far may go. */
  get needs(): Need[] {
    return this.#texts().map((text) => ({ text, upto: text.text.length }));
  }

  async judge(): Promise<void> {
    for (const text of this.#texts()) await text.judge();
  }

  async finish(): Promise<void> {
    for (const text of this.#texts()) await text.finish();
  }

  cancel(): void {
    for (const text of this.#texts()) void text.cancel();
  }

  #texts(): Growing[] {
    return this.#apart ? [this.joined, this.#apart] : [this.joined];
  }
}
