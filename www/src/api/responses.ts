/** OpenAI's Responses: one answer in items, told in events that say each text twice: piece by piece, and whole. */

import type { Said } from '../held.ts';
import type { Message } from '../types.ts';
import { messagesOf, systemOf, textOf } from './content.ts';
import { Shown } from './shown.ts';
import {
  type Fields, fieldsOf, isFields, type LaneFrame, listOf, misshapen, nowSeconds, ownId, type Shape, type Sight, type StreamEvent,
  type StreamReader, stringOf, told,
} from './shape.ts';
import { writeEvent } from './sse.ts';

const isCall = (item: Fields): boolean => /_call$/.test(String(item.type)) && item.name !== undefined;
/** Events of a call's arguments. */
const CALL = /^response\.(?:function_call_arguments|mcp_call_arguments|custom_tool_call_input)\.(?:delta|done)$/;
const LAST = /^response\.(?:completed|incomplete|failed)$/;

/** What an item says. */
function saidIn(item: Fields, place: string, sight: Sight): Said[] {
  // A picture.
  if (item.type === 'image_generation_call') sight.unseen(`the answer's ${place}`);
  const { result: _, ...readable } = item;
  if (!isCall(item)) return sight.said(item.type === 'image_generation_call' ? readable : item, place);
  const { name, arguments: given, input, output, error } = item;
  return [...sight.call(place, name, given ?? input ?? ''), ...sight.said({ output, error }, place)];
}

const response = (body: Fields, more: Fields): Fields => ({
  id: ownId('resp_'),
  object: 'response',
  created_at: nowSeconds(),
  status: 'in_progress',
  error: null,
  incomplete_details: null,
  instructions: null,
  metadata: {},
  model: stringOf(body.model),
  output: [],
  parallel_tool_calls: true,
  temperature: null,
  tool_choice: 'auto',
  tools: [],
  top_p: null,
  ...more,
});
const filtered = { status: 'incomplete', incomplete_details: { reason: 'content_filter' } };

class ResponseReader implements StreamReader {
  readonly lanes = 1;
  readonly #body: Fields;
  readonly #sight: Sight;
  readonly #shown = new Shown();
  /** What came so far, by its place, and the names of calls. */
  readonly #texts = new Map<string, string>();
  readonly #names = new Map<string, unknown>();

  constructor(body: Fields, sight: Sight) {
    this.#body = body;
    this.#sight = sight;
  }

  read(out: StreamEvent): LaneFrame[] {
    const { json } = out;
    const type = String(json.type);
    if (type === 'error') throw told(json.error ?? json);
    if (!type.startsWith('response.')) throw misshapen('events of a response');
    const piece = type.endsWith('.delta');
    const said = typeof json.delta === 'string' && piece ? this.#piece(type, json) : this.#news(type, json);
    for (const { place, text } of said) this.#texts.set(place, (this.#texts.get(place) ?? '') + text);
    return [{ lane: 0, out, said, closes: !piece, last: LAST.test(type) }];
  }

  #piece(type: string, { delta, output_index, content_index, summary_index }: Fields): Said[] {
    const at = `output[${String(output_index)}]`;
    if (CALL.test(type)) return this.#sight.call(at, delta);
    const place = `${at}.${type.split('.')[1]}[${String(content_index ?? summary_index ?? 0)}]`;
    return [{ place, path: place, text: stringOf(delta) }];
  }

  /** What of an event did not come piece by piece. What repeats the request is not the model's. */
  #news(type: string, json: Fields): Said[] {
    const { response, item, output_index } = json;
    const place = `output[${String(output_index)}]`;
    if (CALL.test(type)) return this.#more(place, this.#sight.call(place, this.#names.get(place), json.arguments ?? json.input));
    const items = isFields(response) ? listOf(response.output).map(fieldsOf) : isFields(item) ? [item] : null;
    if (items === null) return this.#unknown(this.#sight.said(json, type));
    return items.flatMap((item, index) => {
      const at = isFields(response) ? `output[${index}]` : place;
      if (isCall(item)) this.#names.set(at, item.name);
      const said = saidIn(item, at, this.#sight);
      return [...this.#more(at, said.filter(({ call }) => call)), ...this.#unknown(said.filter(({ call }) => !call))];
    });
  }

  /** The part of a call that has not come yet; all of it where it is another one. */
  #more(place: string, said: Said[]): Said[] {
    const known = this.#texts.get(place) ?? '';
    return said.flatMap((part) => {
      if (part.text.startsWith(known)) return part.text === known ? [] : [{ ...part, text: part.text.slice(known.length) }];
      return [{ ...part, place: `${place}.again` }];
    });
  }

  /** The texts that have not come yet. */
  #unknown(said: Said[]): Said[] {
    const known = new Set(this.#texts.values());
    return said.filter(({ text }) => !known.has(text)).map((part) => ({ ...part, place: `${part.place}.whole` }));
  }

  sent({ json }: StreamEvent): void {
    this.#shown.add(json);
  }

  ending(): StreamEvent[] {
    const known = this.#shown.response;
    const begun = response(this.#body, known ?? {});
    const created = known ? [] : [{ type: 'response.created', response: begun }];
    const events = [...created, { type: 'response.incomplete', response: { ...begun, ...filtered, output: this.#shown.output } }];
    return events.map((event, at) => {
      const json = { ...event, sequence_number: this.#shown.next + at };
      return { json, wire: writeEvent({ event: event.type, data: JSON.stringify(json) }) };
    });
  }
}

/** The items of a request as messages. */
function itemsOf(input: unknown, sight: Sight): Message[] {
  if (!Array.isArray(input)) return input === undefined ? [] : [{ role: 'user', content: textOf(input, 'input', sight) }];
  return input.flatMap((item, index): Message[] => {
    const at = `input[${index}]`;
    if (!isFields(item)) return [{ role: 'user', content: textOf(item, at, sight) }];
    const { type, output } = item;
    if (type === undefined || type === 'message') return messagesOf([item], sight);
    if (/_output$/.test(String(type))) return [{ role: 'tool', content: typeof output === 'string' ? output : textOf(output, at, sight) }];
    if (/_call$/.test(String(type))) return [{ role: 'assistant', content: [item.name, item.arguments ?? item.input].map(stringOf).join(' ') }];
    // Names something that the API has seen.
    if (type === 'reasoning' || type === 'item_reference') return [];
    return [{ role: 'user', content: sight.unseen(`${at} (${String(type)})`) }];
  });
}

export const responses: Shape = {
  streams: ({ stream }) => stream === true,
  turns({ instructions, prompt, input }, sight) {
    const variables = Object.values(fieldsOf(fieldsOf(prompt).variables)).map((value) => textOf(isFields(value) ? [value] : value, 'prompt', sight));
    const asked: Message[] = variables.length > 0 ? [{ role: 'user', content: variables.join('\n') }] : [];
    return [...systemOf(instructions, 'instructions', sight), ...asked, ...itemsOf(input, sight)];
  },
  refusal: (body) => response(body, filtered),
  parts({ output }, sight) {
    if (!Array.isArray(output) || !output.every(isFields)) throw misshapen('a response');
    const said = output.flatMap((item, at) => saidIn(item, `output[${at}]`, sight));
    return [{ said, withhold: (answer) => ({ ...answer, ...filtered, output: [], output_text: '' }) }];
  },
  reader: (body, sight) => new ResponseReader(body, sight),
};
