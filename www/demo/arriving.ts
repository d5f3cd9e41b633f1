/** An answer as a model would send it: word by word, some 50 tokens a second. More may be added while it comes. */

const TOKENS_PER_SECOND = 50;
/** As English has it. */
const CHARACTERS_PER_TOKEN = 4;

export class Arriving {
  /** The words. They begin to come when somebody reads, and wait for no slow reader, as a model does not. */
  readonly words: ReadableStream<string>;
  #onWord: (word: string) => void;
  #waiting: string;
  #complete = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #reader: ReadableStreamDefaultController<string> | undefined;

  /** `onWord` hears of each word as it comes. */
  constructor(text: string, onWord: (word: string) => void) {
    this.#waiting = text;
    this.#onWord = onWord;
    this.words = new ReadableStream<string>(
      {
        pull: (reader) => {
          if (this.#reader) return;
          this.#reader = reader;
          this.#come();
        },
        cancel: () => {
          this.#complete = true;
          this.#waiting = '';
          clearTimeout(this.#timer);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Whether nothing is to be added. */
  get complete(): boolean {
    return this.#complete;
  }

  add(text: string): void {
    this.#waiting += text;
    this.#come();
  }

  /** Nothing more is added: the stream ends behind what waits. */
  end(): void {
    if (this.#complete) return;
    this.#complete = true;
    this.#come();
  }

  /** The next word, unless one is on its way or nobody reads. */
  #come(): void {
    if (!this.#reader || this.#timer !== undefined) return;
    const [word = ''] = /^\s*\S*\s*/.exec(this.#waiting) ?? [];
    if (word === '') {
      if (this.#complete) this.#reader.close();
      return;
    }
    const tokens = word.length / CHARACTERS_PER_TOKEN;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#waiting = this.#waiting.slice(word.length);
        this.#onWord(word);
        this.#reader?.enqueue(word);
        this.#come();
      },
      (tokens * 1000) / TOKENS_PER_SECOND,
    );
  }
}
