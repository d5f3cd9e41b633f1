/** A text that is judged as a whole: nothing of it is released before. */

import type { Held, Kind, Need, Watch } from './text.ts';

export class Whole implements Held {
  readonly #watch: Watch;
  readonly #place: string;
  readonly #kind: Kind;
  text = '';
  released = 0;

  constructor(watch: Watch, place: string, kind: Kind) {
    this.#watch = watch;
    this.#place = place;
    this.#kind = kind;
  }

  add(_path: string, text: string): void {
    this.text += text;
  }

  get needs(): Need[] {
    return [{ text: this, upto: this.text.length }];
  }

  async judge(): Promise<void> {
    if (this.#kind === 'note') await this.finish();
  }

  async finish(broken = false): Promise<void> {
    const { text } = this;
    if (this.released === text.length || (broken && this.#kind === 'call')) return;
    await this.#watch.whole(this.#kind, this.#place, this.#kind === 'call' ? plainly(text) : text);
    this.released = text.length;
  }

  cancel(): void {
    // Nothing runs between two of its parts.
  }
}

/** A call's text with its JSON written plainly: letters may come as their numbers. */
export function plainly(text: string): string {
  const at = text.indexOf('{');
  try {
    return at < 0 ? text : text.slice(0, at) + JSON.stringify(JSON.parse(text.slice(at)));
  } catch {
    return text;
  }
}
