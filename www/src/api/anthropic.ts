/** Anthropic's messages: one answer in blocks. */

import { messagesOf, systemOf } from './content.ts';
import type { Said } from '../held/lane.ts';
import { type Fields, fieldsOf, isFields, stringOf } from './fields.ts';
import {
  type LaneFrame,
  misshapen,
  ownId,
  type Shape,
  type Sight,
  type StreamEvent,
  type StreamReader,
  told,
} from './shape.ts';
import { writeEvent } from './sse.ts';

const isTool = (block: Fields): boolean => /tool_use$/.test(String(block.type));

/** What a block says, and how it begins in a stream. */
function saidIn(block: Fields, place: string, sight: Sight): Said[] {
  if (!isTool(block)) return sight.said(block, place);
  const { name, input } = block;
  return sight.call(place, name, Object.keys(fieldsOf(input)).length > 0 ? input : '');
}

const message = (body: Fields): Fields => ({
  id: ownId('msg_'),
  type: 'message',
  role: 'assistant',
  model: stringOf(body.model),
  content: [],
  stop_reason: null,
  stop_sequence: null,
  usage: { input_tokens: 0, output_tokens: 0 },
});
const filtered = { stop_reason: 'refusal', stop_sequence: null };

class MessageReader implements StreamReader {
  readonly lanes = 1;
  readonly #body: Fields;
  readonly #sight: Sight;
  readonly #tools = new Set<unknown>();
  #notes = 0;
  #started = false;
  #open: unknown = null;

  constructor(body: Fields, sight: Sight) {
    this.#body = body;
    this.#sight = sight;
  }

  read(out: StreamEvent): LaneFrame[] {
    const { type, index, content_block, delta, message, error } = out.json;
    if (type === 'error') throw told(error);
    if (typeof type !== 'string') throw misshapen('events of a message');
    const place = `content[${String(index)}]`;
    const last = type === 'message_stop';
    const frame = (said: Said[], closes: boolean): LaneFrame[] => [{ lane: 0, out, said, closes, last }];
    if (type === 'ping' || last) return frame([], false);
    if (type === 'content_block_start' && isFields(content_block)) {
      if (isTool(content_block)) this.#tools.add(index);
      return frame(saidIn(content_block, place, this.#sight), true);
    }
    if (type === 'content_block_delta' && isFields(delta)) {
      if (this.#tools.has(index) && delta.type === 'input_json_delta') {
        return frame(this.#sight.call(place, delta.partial_json), false);
      }
      // A citation stands between two pieces of the text, and does not end it.
      if (delta.type === 'citations_delta') return frame(this.#sight.notes(delta, `${place}[${this.#notes++}]`), false);
      return frame(this.#sight.said(delta, place), false);
    }
    // What else comes says nothing, or is judged as it stands.
    const parts: Fields = {
      message_start: fieldsOf(message).content,
      message_delta: delta,
      content_block_stop: null,
    };
    return frame(this.#sight.notes(Object.hasOwn(parts, type) ? parts[type] : out.json, type), true);
  }

  sent({ json: { type, index } }: StreamEvent): void {
    if (type === 'message_start') this.#started = true;
    if (type === 'content_block_start') this.#open = index;
    if (type === 'content_block_stop') this.#open = null;
  }

  ending(_lane: number, end: Fields = {}): StreamEvent[] {
    const events: Fields[] = [];
    if (!this.#started) events.push({ type: 'message_start', message: message(this.#body) });
    if (this.#open !== null) events.push({ type: 'content_block_stop', index: this.#open });
    events.push(
      { type: 'message_delta', delta: filtered, usage: { output_tokens: 0 } },
      { type: 'message_stop', ...end },
    );
    return events.map((json) => ({ json, wire: writeEvent({ event: String(json.type), data: JSON.stringify(json) }) }));
  }
}

export const anthropicMessages: Shape = {
  streams: ({ stream }) => stream === true,
  turns: ({ system, messages }, sight) => [...systemOf(system, 'system', sight), ...messagesOf(messages, sight)],
  refusal: (body) => ({ ...message(body), ...filtered }),
  parts({ content }, sight) {
    if (!Array.isArray(content) || !content.every(isFields)) throw misshapen('a message');
    const said = content.flatMap((block, at) => saidIn(block, `content[${at}]`, sight));
    return [{ said, withhold: (answer) => ({ ...answer, content: [], ...filtered }) }];
  },
  reader: (body, sight) => new MessageReader(body, sight),
};
