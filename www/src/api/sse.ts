/** Server-sent events (WHATWG HTML, 9.2), read from bytes and written as text. */

import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** The events of a body, whose bytes `next` gives, null at the end.
 * @param limit characters of one event, above which `tooLarge` is thrown */
export async function* readEvents(
  next: () => Promise<Uint8Array | null>,
  limit: number,
  tooLarge: () => Error,
): AsyncGenerator<EventSourceMessage, void, undefined> {
  const decoder = new TextDecoder();
  const events: EventSourceMessage[] = [];
  let failed = false;
  const parser = createParser({
    maxBufferSize: limit,
    onEvent: (event) => (event.data.length > limit ? (failed = true) : events.push(event)),
    onError: ({ type }) => (failed ||= type === 'max-buffer-size-exceeded'),
  });
  const feed = function* (text: string) {
    parser.feed(text);
    yield* events.splice(0);
    if (failed) throw tooLarge();
  };
  for (let piece = await next(); piece !== null; piece = await next()) {
    yield* feed(decoder.decode(piece, { stream: true }));
  }
  // An event without its blank line counts: servers forget the last one.
  yield* feed(`${decoder.decode()}\n\n`);
}

export function writeEvent({ event, data, id }: EventSourceMessage): string {
  const lines = data.split('\n').map((line) => `data: ${line}\n`);
  return `${event ? `event: ${event}\n` : ''}${id ? `id: ${id}\n` : ''}${lines.join('')}\n`;
}
