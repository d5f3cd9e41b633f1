/** The pieces of one place in a streamed answer, as one growing text: joined as a stream's pieces are, and, where they
 * are items of a list, with a break between the items as well. */

import { Growing } from './growing.ts';
import type { Held, Need, Watch } from './text.ts';

export class Strand implements Held {
  readonly #watch: Watch;
  readonly #place: string;
  readonly #joined: Growing;
  #apart: Growing | null = null;
  #path: string | undefined;

  constructor(watch: Watch, place: string) {
    this.#watch = watch;
    this.#place = place;
    this.#joined = new Growing(watch, place);
  }

  get text(): string {
    return this.#joined.text;
  }

  add(path: string, text: string): void {
    const other = this.#path !== undefined && this.#path !== path;
    if (other) this.#apart ??= new Growing(this.#watch, this.#place, this.text);
    this.#apart?.add(other ? ` ${text}` : text);
    this.#joined.add(text);
    this.#path = path;
  }

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
    return this.#apart ? [this.#joined, this.#apart] : [this.#joined];
  }
}
