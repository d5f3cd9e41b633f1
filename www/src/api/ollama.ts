/** Ollama's `/api/chat` and `/api/generate`: answers in lines of JSON. */

import { messagesOf, systemOf, textOf } from './content.ts';
import type { Said } from '../held/lane.ts';
import { type Fields, fieldsOf, listOf } from './fields.ts';
import { type LaneFrame, misshapen, type Shape, type Sight, type StreamEvent, told } from './shape.ts';

/** What a line, or the whole answer, says. */
function saidIn({ message, response, thinking }: Fields, sight: Sight): Said[] {
  const { tool_calls, ...rest } = fieldsOf(message);
  const calls = listOf(tool_calls).flatMap((call, at) => {
    const { name, arguments: given, index } = fieldsOf(fieldsOf(call).function);
    return sight.call(`message.tool_calls[${Number.isInteger(index) ? Number(index) : at}]`, name, given);
  });
  return [...sight.said({ response, thinking, message: rest }), ...calls];
}

function shapeOf(spoken: () => Fields, turns: Shape['turns']): Shape {
  const filtered = { done: true, done_reason: 'content_filter' };
  const refusal = (body: Fields): Fields => {
    return { model: body.model ?? '', created_at: new Date().toISOString(), ...spoken(), ...filtered };
  };
  const isAnswer = (json: Fields): boolean => Object.keys(spoken()).every((field) => json[field] !== undefined);
  return {
    lines: true,
    streams: ({ stream }) => stream !== false,
    turns,
    refusal,
    parts(answer, sight) {
      if (!isAnswer(answer)) throw misshapen('a message');
      const withhold = ({ context: _, thinking: __, ...rest }: Fields) => ({ ...rest, ...spoken(), ...filtered });
      return [{ said: saidIn(answer, sight), withhold }];
    },
    reader: (body, sight) => ({
      lanes: 1,
      read(out: StreamEvent): LaneFrame[] {
        const { json } = out;
        if (json.error !== undefined) throw told(json.error);
        if (!isAnswer(json)) throw misshapen('lines of a message');
        const said = saidIn(json, sight);
        return [{ lane: 0, out, said, closes: said.length > 0, last: json.done === true }];
      },
      sent: () => undefined,
      ending(_lane: number, end: Fields = {}): StreamEvent[] {
        const json = { ...refusal(body), ...end };
        return [{ json, wire: `${JSON.stringify(json)}\n` }];
      },
    }),
  };
}

export const ollamaChat = shapeOf(
  () => ({ message: { role: 'assistant', content: '' } }),
  ({ messages }, sight) => messagesOf(messages, sight),
);

export const ollamaGenerate = shapeOf(
  () => ({ response: '' }),
  ({ prompt, suffix, system, images, context }, sight) => {
    if (listOf(images).length > 0) sight.unseen('images');
    // An earlier conversation, in tokens.
    if (listOf(context).length > 0) sight.unseen('context');
    const asked = [prompt, suffix].map((text) => textOf(text, 'prompt', sight)).filter(Boolean);
    return [...systemOf(system, 'system', sight), { role: 'user', content: asked.join('\n') }];
  },
);
