/** Reads what callers hand in as a conversation, in the words of whichever chat API, into rsafe's messages: one for each, so
 * that a quote's index is the caller's. Whatever else hangs on them stays behind: frameworks' proxies cannot be sent to a
 * worker. */

import { callsOf, partOf } from './api/content.ts';
import { type Fields, fieldsOf, isFields } from './api/fields.ts';
import { itemOf } from './api/items.ts';
import type { Eyes } from './api/shape.ts';
import { GuardError } from './errors.ts';
import { reading } from './plain.ts';
import type { Conversation, Message } from './types.ts';

const EYES: Eyes = {
  unseen(place) {
    throw new GuardError('bad_input', `${place} cannot be judged, only text; leave it out or check it elsewhere`);
  },
};

/** @throws GuardError `bad_input` for what is no conversation, or holds what is no text. */
export function plainMessages(messages: Conversation): Message[] {
  if (!Array.isArray(messages)) throw unexpected('a text or a list of messages', messages);
  return reading('messages', () => messages.map((message, index) => messageOf(message, `messages[${index}]`)));
}

function messageOf(message: unknown, at: string): Message {
  if (!isFields(message)) throw unexpected('a message with `role` and `content`', message);
  const { type, role, parts, content = parts, refusal } = message;
  // An item of the Responses API that is no message; of some there is nothing to read.
  if (role === undefined && typeof type === 'string') {
    return itemOf(message, at, EYES)[0] ?? { role: 'assistant', content: null };
  }
  if (typeof role !== 'string') throw unexpected('a `role`', role);
  for (const media of ['audio', 'images']) if ((message[media] ?? null) !== null) EYES.unseen(`${at}.${media}`);
  const said = [...(typeof refusal === 'string' ? [refusal] : []), ...callsOf(message)];
  const own = role as Message['role'];
  if (said.length === 0 && (typeof content === 'string' || content === null)) return { role: own, content };
  return { role: own, content: [...textsOf(content, said, at), ...said].map((text) => ({ type: 'text', text })) };
}

function textsOf(content: unknown, said: readonly string[], at: string): string[] {
  if (typeof content === 'string') return [content];
  if ((content ?? null) === null && said.length > 0) return [];
  if (!Array.isArray(content)) throw unexpected('`content` as a text or a list of parts', content);
  return content.map((part, index) => {
    if (typeof fieldsOf(part).type !== 'string') throw unexpected('a part with a `type`', part);
    return textOf(part as Fields, `${at}.content[${index}]`);
  });
}

/** The text of a part: the AI SDK's, or an API's. */
function textOf(part: Fields, at: string): string {
  const type = String(part.type);
  if (type === 'step-start') return '';
  if (type === 'reasoning' && typeof part.text === 'string') return part.text;
  if (type.startsWith('data-')) return written(part.data);
  if (type.startsWith('source-')) return [part.title, part.url, part.filename].filter(Boolean).join('\n');
  if (!/^(?:dynamic-tool$|tool-)/.test(type)) return partOf(part, at, EYES);
  const { toolName = type.slice('tool-'.length), input, output, errorText, reason } = part;
  const { type: kind, value } = fieldsOf(output);
  const gave = kind === 'content' ? textsOf(value, [], `${at}.output`).join('\n') : output;
  const told = [toolName, input, gave, errorText, reason].filter((value) => value !== undefined);
  return told.map(written).join(' ');
}

const written = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));

function unexpected(expected: string, found: unknown): GuardError {
  const what = found === null ? 'null' : Array.isArray(found) ? 'a list' : typeof found;
  return new GuardError('bad_input', `messages: expected ${expected} but got ${what}`);
}
