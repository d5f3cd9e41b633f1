/** A text of an answer that grows, and what of it has been released. */

type Chunk = string | Uint8Array;

/** Why a call ends: something of it is not let through. */
export class Blocked extends Error {}

export class Growing {
  readonly #writer: WritableStreamDefaultWriter<Chunk>;
  readonly #read: Promise<void>;
  /** What was heard before is judged along, and not released again. */
  #heard: string;
  #again: number;
  #released = '';

  constructor({ readable, writable }: TransformStream<Chunk, Chunk>, heard: string) {
    this.#writer = writable.getWriter();
    this.#heard = heard;
    this.#again = heard.length;
    this.#read = this.#collect(readable.getReader());
    // Whoever writes hears of an error, too.
    this.#read.catch(() => undefined);
    this.#writer.closed.catch(() => undefined);
  }

  /** More text, judged when the promise resolves.
   * @throws Blocked */
  async add(text: string): Promise<void> {
    const all = this.#heard + text;
    this.#heard = '';
    await unblocked(this.#writer.write(all));
  }

  /** The end, after which the rest is released.
   * @throws Blocked */
  async end(): Promise<void> {
    await unblocked(this.#writer.close());
    await this.#read;
  }

  /** What has been released and not been taken. */
  take(): string {
    const taken = this.#released;
    this.#released = '';
    return taken;
  }

  async #collect(reader: ReadableStreamDefaultReader<Chunk>): Promise<void> {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const text = String(value);
      this.#released += text.slice(this.#again);
      this.#again = Math.max(0, this.#again - text.length);
    }
  }
}

async function unblocked(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw (error as { code?: unknown } | null)?.code === 'blocked' ? new Blocked() : error;
  }
}
