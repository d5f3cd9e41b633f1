/** OpenAI's chat completions and legacy completions: answers in choices. */

import type { Said } from '../held/lane.ts';
import { writeEvent } from './sse.ts';
import { messagesOf, textOf } from './content.ts';
import { type Fields, fieldsOf, isFields, listOf, stringOf } from './fields.ts';
import {
  type LaneFrame,
  misshapen,
  nowSeconds,
  ownId,
  type Part,
  type Shape,
  type Sight,
  type StreamEvent,
  type StreamReader,
  told,
} from './shape.ts';

type Field = 'message' | 'delta' | 'text';

/** What a choice says: tool calls each as one text, all the rest by its place. */
function saidIn(choice: Fields, field: Field, sight: Sight): Said[] {
  const spoken = choice[field];
  if (!isFields(spoken)) return sight.said(choice);
  const { tool_calls, function_call, ...rest } = spoken;
  const calls = [...listOf(tool_calls), ...(function_call ? [{ function: function_call }] : [])].flatMap((call, at) => {
    const { index, function: called, custom } = fieldsOf(call);
    const { name, arguments: given, input } = fieldsOf(called ?? custom);
    const parts = name ? [name, given ?? input ?? ''] : [given ?? input ?? ''];
    return sight.call(`${field}.tool_calls[${Number.isInteger(index) ? Number(index) : at}]`, ...parts);
  });
  const others = Array.isArray(tool_calls) ? rest : { ...rest, tool_calls };
  return [...sight.said({ ...choice, [field]: others }), ...calls];
}

/** Whether a delta has something besides its role and texts, such as tool calls. */
const hasMore = (delta: unknown): boolean =>
  Object.values(fieldsOf(delta)).some((value) => typeof value === 'object' && value !== null);

const none = (field: Field): Fields =>
  field === 'text' ? { text: '' } : { message: { role: 'assistant', content: '', refusal: null } };
const withheld = (index: number, spoken: Fields): Fields => {
  return { index, ...spoken, logprobs: null, finish_reason: 'content_filter' };
};

class ChoicesReader implements StreamReader {
  readonly #sight: Sight;
  readonly #field: 'delta' | 'text';
  readonly #started = new Set<unknown>();
  readonly lanes: number;
  #envelope: Fields;

  constructor(field: 'delta' | 'text', { n, prompt }: Fields, envelope: Fields, sight: Sight) {
    this.#field = field;
    this.lanes = Number(n ?? 1) * (Array.isArray(prompt) ? prompt.length : 1);
    this.#envelope = envelope;
    this.#sight = sight;
  }

  read(event: StreamEvent): LaneFrame[] {
    const { choices, ...envelope } = event.json;
    if (envelope.error) throw told(envelope.error);
    if (!Array.isArray(choices) || !choices.every(isFields)) throw misshapen('choices');
    if (choices.length === 0) return [{ lane: null, out: event, said: [], closes: false, last: false }];
    const { usage: _, ...rest } = envelope;
    this.#envelope = rest;
    return choices.map((choice) => {
      const said = saidIn(choice, this.#field, this.#sight);
      return {
        lane: Number(choice.index ?? 0),
        out: choices.length === 1 ? event : this.#event({ ...envelope, choices: [choice] }),
        said,
        closes: said.length > 0 || hasMore(choice.delta),
        last: (choice.finish_reason ?? null) !== null,
      };
    });
  }

  sent({ json }: StreamEvent): void {
    for (const choice of listOf(json.choices)) this.#started.add(Number(fieldsOf(choice).index ?? 0));
  }

  ending(lane: number, end: Fields = {}): StreamEvent[] {
    const start = this.#started.has(lane) ? {} : { role: 'assistant', content: '' };
    const spoken = this.#field === 'text' ? { text: '' } : { delta: start };
    return [this.#event({ ...this.#envelope, choices: [withheld(lane, spoken)], ...end })];
  }

  #event(json: Fields): StreamEvent {
    return { json, wire: writeEvent({ data: JSON.stringify(json) }) };
  }
}

function shapeOf(field: 'message' | 'text', object: string, prefix: string, turns: Shape['turns']): Shape {
  const envelope = (body: Fields, object: string): Fields => {
    return { id: ownId(prefix), object, created: nowSeconds(), model: stringOf(body.model) };
  };
  return {
    done: '[DONE]',
    streams: ({ stream }) => stream === true,
    turns,
    refusal: (body) => ({
      ...envelope(body, object),
      choices: [withheld(0, none(field))],
      usage: { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 },
    }),
    parts(answer, sight) {
      const { choices } = answer;
      if (!Array.isArray(choices) || !choices.every(isFields)) throw misshapen('choices');
      return choices.map(
        (choice, at): Part => ({
          said: saidIn(choice, field, sight),
          withhold(answer) {
            const without = withheld(Number(choice.index ?? at), none(field));
            return {
              ...answer,
              choices: listOf(answer.choices).map((other, index) => (index === at ? without : other)),
            };
          },
        }),
      );
    },
    reader: (body, sight) =>
      field === 'text'
        ? new ChoicesReader('text', body, envelope(body, object), sight)
        : new ChoicesReader('delta', body, envelope(body, `${object}.chunk`), sight),
  };
}

export const chatCompletions = shapeOf('message', 'chat.completion', 'chatcmpl-', ({ messages }, sight) => {
  return messagesOf(messages, sight);
});

export const completions = shapeOf('text', 'text_completion', 'cmpl-', ({ prompt, suffix }, sight) => {
  const asked = textOf(prompt, 'prompt', sight);
  return [{ role: 'user', content: [asked, stringOf(suffix)].filter(Boolean).join('\n') }];
});
