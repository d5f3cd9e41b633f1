/** A streamed answer on its way through: events come from the API, and leave when their text was released. */

import { GuardError } from '../errors.ts';
import { Lane } from '../held/lane.ts';
import type { Watch } from '../held/text.ts';
import type { Fields } from './fields.ts';
import { readLines } from './lines.ts';
import { objectIn, type Shape, type StreamEvent, type StreamReader } from './shape.ts';
import { readEvents, writeEvent } from './sse.ts';

export interface Relay {
  shape: Shape;
  reader: StreamReader;
  watch: Watch;
  /** The API's next bytes, or null at the end. */
  next: () => Promise<Uint8Array | null>;
  /** Characters of one event, above which the answer is given up. */
  limit?: number;
  /** How an answer ends whose judging failed with this error, or null where the whole stream fails with it. */
  ends: Ends;
}

/** The fields of an end, beside those that say that it was filtered. */
export type Ends = (error: unknown) => Fields | null;

const LIMIT = 1 << 24;

/** What may be written to the caller. Each choice waits for its own text only; one that is cut does not end the others.
 * @throws GuardError where the API breaks off or cannot be read, or the guard fails: nothing that is held comes out */
export async function* relay({
  shape,
  reader,
  watch,
  next,
  limit = LIMIT,
  ends,
}: Relay): AsyncGenerator<string, void, undefined> {
  const lanes = new Map<number, Lane<StreamEvent>>();
  const loose: StreamEvent[] = [];
  let cut = false;
  let done = false;
  const every = (holds: (lane: Lane<StreamEvent>) => boolean) => [...lanes.values()].every(holds);
  const over = () => lanes.size >= reader.lanes && every((lane) => lane.over);
  const told = (events: StreamEvent[]) =>
    events.map((event) => {
      reader.sent(event);
      return event.wire;
    });
  /** What a lane has to tell after some work on it. */
  const after = async (index: number, work: (lane: Lane<StreamEvent>) => Promise<void>): Promise<string[]> => {
    const lane = lanes.get(index) ?? new Lane(watch);
    lanes.set(index, lane);
    try {
      await work(lane);
      return told(lane.take());
    } catch (error) {
      const end = ends(error);
      if (end === null) throw error;
      cut = true;
      return [...told(lane.cut()), ...told(reader.ending(index, end))];
    }
  };
  const rest = () => (every((lane) => lane.empty) ? told(loose.splice(0)) : []);

  for await (const { wire, data } of eventsOf(shape, next, limit)) {
    done = data.trim() === shape.done;
    if (done) break;
    for (const frame of reader.read({ wire, json: objectIn(data, 'events of JSON') })) {
      if (frame.lane === null) loose.push(frame.out);
      else yield* await after(frame.lane, (lane) => lane.accept(frame));
    }
    yield* rest();
    // Nothing that may still come could be told.
    if (cut && over()) break;
  }
  if (!done && !over()) brokenOff();
  for (const index of lanes.keys()) yield* await after(index, (lane) => lane.finish());
  yield* rest();
  if (shape.done !== undefined && (done || cut)) yield writeEvent({ data: shape.done });
}

/** The answer ended before its end. */
export function brokenOff(cause?: unknown): never {
  const what = "the model's API broke off in the middle of its answer; what was held back stays so";
  throw new GuardError('network', what, { cause });
}

/** The events of a prompt that is refused. */
export function refusalEvents(shape: Shape, reader: StreamReader, end: Fields = {}): string {
  const events = reader.ending(0, end).map(({ wire }) => wire);
  return [...events, shape.done === undefined ? '' : writeEvent({ data: shape.done })].join('');
}

interface Written {
  wire: string;
  data: string;
}

/** Events as they are written again, and their data. */
async function* eventsOf(
  { lines }: Shape,
  next: Relay['next'],
  limit: number,
): AsyncGenerator<Written, void, undefined> {
  const tooLarge = () =>
    new GuardError('bad_input', `the model's API sent more than ${limit} characters as one event, which nobody judges`);
  if (lines) {
    for await (const data of readLines(next, limit, tooLarge)) yield { wire: `${data}\n`, data };
  } else {
    for await (const event of readEvents(next, limit, tooLarge)) yield { wire: writeEvent(event), data: event.data };
  }
}
