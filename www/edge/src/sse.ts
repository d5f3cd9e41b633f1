/** Server-sent events of the upstream and to the reader (WHATWG HTML, 9.2 Server-sent events). */

import { readEvents as eventsOf } from 'rsafe/held';
import { HttpError } from './http.ts';

export { writeEvent } from 'rsafe/held';

/** The events of a response's body. `nextPiece` reads from it, within whatever time it gives. A stream whose event has more
 * than `limit` characters is given up.
 * @throws HttpError `upstream` (502) for such a stream, and what `nextPiece` throws */
export function readEvents(nextPiece: () => Promise<Uint8Array | null>, limit: number): ReturnType<typeof eventsOf> {
  return eventsOf(
    nextPiece,
    limit,
    () => new HttpError(502, 'upstream', `an event of the upstream has more than ${limit} characters`),
  );
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
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    },
  });
}
