/** The call of a tool: nothing of it is released before all of it was judged, since half of a call says little. */

import type { Held, Need, Watch } from './text.ts';

export class Call implements Held {
  readonly #watch: Watch;
  readonly #place: string;
  text = '';
  released = 0;

  constructor(watch: Watch, place: string) {
    this.#watch = watch;
    this.#place = place;
  }

  add(_path: string, text: string): void {
    this.text += text;
  }

  get needs(): Need[] {
    return [{ text: this, upto: this.text.length }];
  }

  async judge(): Promise<void> {
    // At its end.
  }

  async finish(): Promise<void> {
    const { text } = this;
    if (this.released === text.length) return;
    await this.#watch.whole(this.#place, text);
    this.released = text.length;
  }

  cancel(): void {
    // Nothing runs between two of its parts.
  }
}
