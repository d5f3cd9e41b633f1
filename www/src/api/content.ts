/** Messages of a request, of whichever API, in rsafe's words. */

import type { Message } from '../types.ts';
import { type Fields, fieldsOf, isFields, listOf, stringOf } from './fields.ts';
import type { Eyes } from './shape.ts';

type Role = Message['role'];
const ROLES: Record<string, Role> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  assistant: 'assistant',
  tool: 'tool',
  function: 'tool',
};

/** Whoever has another role is a stranger, and judged like the user. */
export const roleOf = (role: unknown): Role => (Object.hasOwn(ROLES, String(role)) ? ROLES[String(role)]! : 'user');

/** Parts that hold text under one of these names. */
const TEXT = /^(?:input_|output_|summary_|reasoning_)?text$|^refusal$|^document$|^search_result$/;
/** What a model wrote for itself. */
const OWN = /^(?:redacted_)?thinking$|^reasoning$/;

/** The text of a content: a string, or parts, joined by line breaks. */
export function textOf(content: unknown, at: string, sight: Eyes): string {
  if (content === null || content === undefined) return '';
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return sight.unseen(at);
  return content
    .map((part, index) => partOf(part, `${at}[${index}]`, sight))
    .filter(Boolean)
    .join('\n');
}

export function partOf(part: unknown, at: string, sight: Eyes): string {
  if (typeof part === 'string') return part;
  if (!isFields(part)) return sight.unseen(at);
  const { type, text, refusal, title, source, content } = part;
  if (OWN.test(String(type))) return '';
  if (/tool_use$/.test(String(type))) return callOf(part.name, part.input);
  if (!TEXT.test(String(type ?? 'text'))) return sight.unseen(`${at} (${String(type)})`);
  const own = [title, text, refusal].filter((value) => typeof value === 'string');
  if (source === undefined && content === undefined) return own.length > 0 ? own.join('\n') : sight.unseen(at);
  // A document says where its text comes from.
  const inner = fieldsOf(source).type === 'text' ? fieldsOf(source).data : (content ?? fieldsOf(source).content);
  return inner === undefined ? sight.unseen(`${at}.source`) : [...own, textOf(inner, at, sight)].join('\n');
}

export const callOf = (name: unknown, given: unknown): string =>
  `${stringOf(name)} ${typeof given === 'string' ? given : JSON.stringify(given ?? {})}`;

/** The calls of an assistant's message in the style of OpenAI and Ollama. */
export const callsOf = (message: Fields): string[] =>
  [...listOf(message.tool_calls), { function: message.function_call }].flatMap((call) => {
    const { name, arguments: given } = fieldsOf(fieldsOf(call).function);
    return name === undefined ? [] : [callOf(name, given)];
  });

/** `messages` as OpenAI, Ollama and Anthropic send them. Results of tools within a message of the user (Anthropic)
 * become messages of their own. */
export function messagesOf(messages: unknown, sight: Eyes): Message[] {
  return listOf(messages).flatMap((message, index): Message[] => {
    const at = `messages[${index}]`;
    if (!isFields(message)) return [{ role: 'user', content: sight.unseen(at) }];
    if (listOf(message.images).length > 0) sight.unseen(`${at}.images`);
    if ((message.audio ?? null) !== null) sight.unseen(`${at}.audio`);
    const role = roleOf(message.role);
    if (!Array.isArray(message.content)) {
      const said = [textOf(message.content, `${at}.content`, sight), stringOf(message.refusal), ...callsOf(message)];
      return [{ role, content: said.filter(Boolean).join('\n') }];
    }
    const isResult = (part: unknown) => /_tool_result$|^tool_result$/.test(String(fieldsOf(part).type));
    const results = message.content.filter(isResult).map((part: Fields, result): Message => {
      return { role: 'tool', content: textOf(part.content, `${at}.content[${result}].content`, sight) };
    });
    const rest = message.content.filter((part) => !isResult(part));
    const content = [textOf(rest, `${at}.content`, sight), ...callsOf(message)].filter(Boolean).join('\n');
    return rest.length === 0 && results.length > 0 ? results : [...results, { role, content }];
  });
}

/** What stands before a conversation: the application's own words. */
export const systemOf = (system: unknown, at: string, sight: Eyes): Message[] =>
  system === undefined || system === null ? [] : [{ role: 'system', content: textOf(system, at, sight) }];
