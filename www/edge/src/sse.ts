/** Server-sent events, read from bytes and written as text (WHATWG HTML, 9.2 Server-sent events). */

import { HttpError } from './http.ts';

export interface ServerSentEvent {
  /** The event's type; absent means `message`. */
  event?: string;
  data: string;
  id?: string;
}

/** Reads events from text that comes in pieces, cut anywhere. */
export class SseParser {
  readonly #limit: number;
  #line = '';
  #data: string[] = [];
  #event: string | undefined;
  #id: string | undefined;
  /** Characters held for the event in progress. */
  #size = 0;
  #afterReturn = false;
  #started = false;

  /** `limit`: characters of one event, above which the stream is given up. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  push(text: string): ServerSentEvent[] {
    if (text === '') return [];
    if (!this.#started) {
      this.#started = true;
      if (text.startsWith('\ufeff')) text = text.slice(1);
    }
    // A line break of two characters may be cut between them.
    if (this.#afterReturn && text.startsWith('\n')) text = text.slice(1);
    this.#afterReturn = text.endsWith('\r');
    const lines = (this.#line + text).split(/\r\n|\r|\n/);
    this.#line = lines.pop() ?? '';
    const events = lines.flatMap((line) => this.#read(line) ?? []);
    this.#bound(this.#size + this.#line.length);
    return events;
  }

  /** The end of the stream: an event without its blank line counts, since upstreams forget the last one. */
  end(): ServerSentEvent[] {
    const last = this.#line === '' ? [] : this.push('\n');
    return [...last, ...(this.#read('') ?? [])];
  }

  #read(line: string): ServerSentEvent[] | null {
    if (line === '') return this.#dispatch();
    this.#bound((this.#size += line.length));
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/su.exec(line) ?? [];
    if (field === 'data') this.#data.push(value ?? '');
    else if (field === 'event') this.#event = value ?? '';
    else if (field === 'id') this.#id = value ?? '';
    return null;
  }

  #bound(size: number): void {
    if (size > this.#limit) throw new HttpError(502, 'upstream', `an event of the upstream has more than ${this.#limit} characters`);
  }

  #dispatch(): ServerSentEvent[] | null {
    const data = this.#data;
    const event: ServerSentEvent = { data: data.join('\n') };
    if (this.#event) event.event = this.#event;
    if (this.#id) event.id = this.#id;
    this.#data = [];
    this.#event = this.#id = undefined;
    this.#size = 0;
    return data.length === 0 ? null : [event];
  }
}

/** The events of a response's body. `nextPiece` reads from it, within whatever time it gives. */
export async function* readEvents(
  nextPiece: () => Promise<Uint8Array | null>,
  limit: number,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const decoder = new TextDecoder();
  const parser = new SseParser(limit);
  for (;;) {
    const piece = await nextPiece();
    if (piece === null) break;
    yield* parser.push(decoder.decode(piece, { stream: true }));
  }
  yield* parser.push(decoder.decode());
  yield* parser.end();
}

export function writeEvent({ event, data, id }: ServerSentEvent): string {
  const lines = data.split('\n').map((line) => `data: ${line}\n`);
  return `${event ? `event: ${event}\n` : ''}${id ? `id: ${id}\n` : ''}${lines.join('')}\n`;
}

/** A response that sends what `events` yields, at the reader's pace. `reader` fires when the reader leaves, since the
 * runtime does not always cancel the body then; either way `gone` is told. `onEnd` hears that nothing more comes. */
export function sseResponse(
  events: AsyncGenerator<string, void, undefined>,
  reader: AbortSignal,
  gone: AbortController,
  onEnd: () => void,
): Response {
  const encoder = new TextEncoder();
  // Not in the generator's own `finally`: one that never began does not run it.
  const leave = async () => {
    gone.abort();
    await events.return().then(onEnd, onEnd);
  };
  const body = new ReadableStream<Uint8Array>({
    start() {
      reader.addEventListener('abort', leave, { once: true });
    },
    async pull(controller) {
      try {
        const { done, value } = await events.next();
        if (!done) return controller.enqueue(encoder.encode(value));
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      onEnd();
    },
    cancel: leave,
  });
  return new Response(body, {
    headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
  });
}
