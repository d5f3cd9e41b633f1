/** Server-sent events, read from bytes and written as text (WHATWG HTML, 9.2 Server-sent events). */

import { createParser } from 'eventsource-parser';
import { HttpError } from './http.ts';

export interface ServerSentEvent {
  /** The event's type; absent means `message`. */
  event?: string | undefined;
  data: string;
  id?: string | undefined;
}

/** The events of a response's body. `nextPiece` reads from it, within whatever time it gives. A stream whose event has more
 * than `limit` characters is given up.
 * @throws HttpError `upstream` (502) for such a stream, and what `nextPiece` throws */
export async function* readEvents(
  nextPiece: () => Promise<Uint8Array | null>,
  limit: number,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const decoder = new TextDecoder();
  let events: ServerSentEvent[] = [];
  const tooLarge = () => new HttpError(502, 'upstream', `an event of the upstream has more than ${limit} characters`);
  const parser = createParser({
    // Bounds an event that has not ended; one that ends in the piece in which it began is measured then.
    maxBufferSize: limit,
    onError({ type }) {
      if (type === 'max-buffer-size-exceeded') throw tooLarge();
    },
    onEvent(event) {
      if (event.data.length > limit) throw tooLarge();
      events.push(event);
    },
  });
  function* read(text: string) {
    parser.feed(text);
    yield* events;
    events = [];
  }
  for (let piece = await nextPiece(); piece !== null; piece = await nextPiece()) {
    yield* read(decoder.decode(piece, { stream: true }));
  }
  // An event without its blank line counts, since upstreams forget the last one.
  yield* read(`${decoder.decode()}\n\n`);
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
