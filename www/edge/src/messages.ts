/** Conversations and texts as callers send them, checked before anything is done with them, and all the text in them. */

import { asRead, type Piece, sideBySide, type Spoken, Unreadable, walk } from 'rsafe/walk';
import type { Message } from 'rsafe/workerd';

import { badInput, isFields } from './http.ts';

const ROLES = new Set(['system', 'developer', 'user', 'assistant', 'tool', 'function']);
const TEXTS = new Set(['text', 'input_text', 'output_text', 'refusal']);

/** OpenAI's `messages`. */
export function readMessages(value: unknown): Message[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw badInput('messages must be an array of at least one message', 'messages');
  }
  return value.map((message: unknown, index) => {
    const where = `messages[${index}]`;
    if (!isFields(message)) throw badInput(`${where} must be an object`);
    const { content } = message;
    const role = readRole(message.role, where);
    if (message.audio !== undefined && message.audio !== null)
      throw badInput(`${where}.audio cannot be judged; leave it out`);
    if ((content === null || content === undefined) && role === 'assistant')
      return { role, content: refusal(message.refusal) };
    return { role, content: readText(content, `${where}.content`) };
  });
}

export function readRole(role: unknown, where: string): Message['role'] {
  if (typeof role === 'string' && ROLES.has(role)) return role as Message['role'];
  throw badInput(`${where}.role must be one of ${[...ROLES].join(', ')}, not ${JSON.stringify(role)}`);
}

/** An assistant that refused said so here, and the next turn may lean on it. */
function refusal(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** A text, or text parts as they may be read together. Anything that is not text is refused: the guard cannot see into it. */
export function readText(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) throw badInput(`${where} must be a string or an array of text parts`);
  return asRead(value.map((part: unknown, index) => readPart(part, `${where}[${index}]`)));
}

function readPart(part: unknown, where: string): string {
  if (!isFields(part)) throw badInput(`${where} must be an object with a type`);
  const text = part.type === 'refusal' ? part.refusal : part.text;
  if (typeof part.type !== 'string' || !TEXTS.has(part.type)) {
    throw badInput(
      `${where} has the type ${JSON.stringify(part.type)}, which cannot be judged, only text; leave it out`,
    );
  }
  if (typeof text !== 'string') throw badInput(`${where} is a ${part.type} part without its text`);
  return text;
}

/** All text of a caller's value: what must be judged.
 * @throws HttpError `bad_input` that names what cannot be. */
export function piecesOf(value: unknown, where: string, pass: ReadonlySet<string>): Piece[] {
  try {
    return walk(value, { pass, at: where });
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    throw badInput(`${error.path || error.place} ${error.what}; leave it out`);
  }
}

/** Everything that is said in OpenAI's `messages`, save by those whom the owner trusts. */
export function spokenIn(
  messages: readonly unknown[],
  trusted: ReadonlySet<string>,
  pass: ReadonlySet<string>,
): Spoken[] {
  return messages.map((message, index) => {
    const role = isFields(message) ? String(message.role) : '';
    const pieces = trusted.has(role) ? [] : piecesOf(message, `messages[${index}]`, pass);
    return { role, pieces: sideBySide(pieces) };
  });
}

/** Refuses the fields of a request that its route does not have. */
export function refuseUnknown(body: object, known: readonly string[]): void {
  const odd = Object.keys(body).find((field) => !known.includes(field));
  if (odd === undefined) return;
  throw badInput(
    `the field ${JSON.stringify(odd.slice(0, 64))} is not known here, and would go unjudged; send ${known.join(', ')}`,
  );
}
