/** Reads the events of a body that is all there. */

import type { EventSourceMessage } from 'eventsource-parser';
import { readEvents } from '../../edge/src/sse.ts';

/** The events of a body that comes in these pieces, without the fields that they do not have. */
export async function eventsOf(pieces: readonly (string | Uint8Array)[], limit = 1e6): Promise<EventSourceMessage[]> {
  const encoder = new TextEncoder();
  const left = pieces.map((piece) => (typeof piece === 'string' ? encoder.encode(piece) : piece));
  const events: EventSourceMessage[] = [];
  for await (const event of readEvents(async () => left.shift() ?? null, limit))
    events.push(JSON.parse(JSON.stringify(event)));
  return events;
}
