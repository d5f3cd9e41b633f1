/** What the Responses API is asked, in rsafe's words: items, and the variables of a prompt that it keeps. */

import type { Message } from '../types.ts';
import { callOf, messagesOf, systemOf, textOf } from './content.ts';
import { type Fields, fieldsOf, isFields } from './fields.ts';
import type { Eyes } from './shape.ts';

export function askedIn({ instructions, prompt, input, background }: Fields, sight: Eyes): Message[] {
  // Its answer is fetched later, by requests that ask for no text.
  if (background === true) sight.unseen('background: true');
  const variables = Object.values(fieldsOf(fieldsOf(prompt).variables));
  const values = variables.map((value) => textOf(isFields(value) ? [value] : value, 'prompt.variables', sight));
  const asked: Message[] = values.length > 0 ? [{ role: 'user', content: values.join('\n') }] : [];
  return [...systemOf(instructions, 'instructions', sight), ...asked, ...itemsOf(input, sight)];
}

function itemsOf(input: unknown, sight: Eyes): Message[] {
  if (input === undefined) return [];
  if (!Array.isArray(input)) return [{ role: 'user', content: textOf(input, 'input', sight) }];
  return input.flatMap((item, index) => itemOf(item, `input[${index}]`, sight));
}

export function itemOf(item: unknown, at: string, sight: Eyes): Message[] {
  if (!isFields(item)) return [{ role: 'user', content: textOf(item, at, sight) }];
  const type = String(item.type ?? 'message');
  if (type === 'message') return messagesOf([item], sight);
  if (type.endsWith('_output')) return [{ role: 'tool', content: textOf(item.output, `${at}.output`, sight) }];
  if (type.endsWith('_call')) return [{ role: 'assistant', content: callOf(item.name, item.arguments ?? item.input) }];
  // Names something that the API has seen, or is for its eyes only.
  if (['reasoning', 'item_reference', 'compaction'].includes(type)) return [];
  // What servers of tools say about themselves.
  if (type.startsWith('mcp_')) return [{ role: 'tool', content: JSON.stringify(item) }];
  return [{ role: 'user', content: sight.unseen(`${at} (${type})`) }];
}
