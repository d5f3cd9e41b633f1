/** A text that grows piece by piece, and how much of it the guard has released. */

import type { Watch } from './text.ts';

/** Counts, in UTF-16 units, what came in and what may be shown. */
export class Growing {
  readonly #watch: Watch;
  readonly #place: string;
  #text = '';
  #unseen = '';
  #open: Opened | null = null;
  released = 0;

  constructor(watch: Watch, place: string, text = '') {
    this.#watch = watch;
    this.#place = place;
    this.add(text);
  }

  get text(): string {
    return this.#text;
  }

  /** More text, which `judge` judges. */
  add(text: string): void {
    this.#text += text;
    this.#unseen += text;
  }

  async judge(): Promise<void> {
    if (this.#unseen === '') return;
    // A text that goes on after its end is judged as a whole again: a fresh monitor knows nothing of it.
    const unseen = this.#open ? this.#unseen : this.#text;
    this.#unseen = '';
    const { writer } = (this.#open ??= this.#begin());
    await this.#watch.run(() => writer.write(unseen));
  }

  /** Lets the monitor see the end, so that it releases the rest. */
  async finish(): Promise<void> {
    if (!this.#open) return;
    const { writer, read } = this.#open;
    this.#open = null;
    await this.#watch.run(async () => {
      await writer.close();
      await read;
    });
  }

  async cancel(): Promise<void> {
    await this.#open?.writer.abort().catch(() => undefined);
  }

  #begin(): Opened {
    const { readable, writable } = this.#watch.open(this.#place);
    const read = this.#count(readable.getReader());
    // Whoever writes hears of an error, too.
    read.catch(() => undefined);
    return { writer: writable.getWriter(), read };
  }

  async #count(reader: ReadableStreamDefaultReader<string | Uint8Array>): Promise<void> {
    for (let seen = 0; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      seen += value.length;
      this.released = Math.max(this.released, seen);
    }
  }
}

interface Opened {
  writer: WritableStreamDefaultWriter<string | Uint8Array>;
  read: Promise<void>;
}
