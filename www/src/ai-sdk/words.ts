/** What is said in the prompts and answers of the AI SDK, as text. */

import type {
  LanguageModelV4Citation,
  LanguageModelV4Content,
  LanguageModelV4Message,
  LanguageModelV4Prompt,
  LanguageModelV4ToolResultPart,
} from '@ai-sdk/provider';
import type { Spoken } from '../walk/transcript.ts';

type Output = LanguageModelV4ToolResultPart['output'];
type PromptPart = Exclude<LanguageModelV4Message['content'], string>[number];

/** A piece of a message or an answer, and of what a tool gave. */
export type Part = PromptPart | LanguageModelV4Content | Extract<Output, { type: 'content' }>['value'][number];

/** A turn of a prompt, as a guard reads it. */
export interface Turn extends Spoken {
  role: 'user' | 'assistant' | 'tool';
  pieces: string[];
  /** Types of its parts that are no text. */
  unseen: string[];
}

/** The turns of a prompt. The app's own words (`system`) are none of them; what a tool gave is a turn of its own, also
 * where the provider ran the tool in the middle of an answer. */
export function turnsOf(prompt: LanguageModelV4Prompt, skip: (part: Part) => boolean): Turn[] {
  return prompt.flatMap((message): Turn[] => {
    if (message.role === 'system') return [];
    const turns: Turn[] = [];
    for (const part of message.content) {
      if (skip(part)) continue;
      const role = part.type === 'tool-result' ? 'tool' : message.role;
      const before = turns.at(-1);
      const { pieces, unseen } = readPart(part);
      if (before?.role !== role) turns.push({ role, pieces, unseen });
      else {
        before.pieces.push(...pieces);
        before.unseen.push(...unseen);
      }
    }
    return turns;
  });
}

/** The texts of a part, and the types of what in it is no text. */
export function readPart(part: Part): { pieces: string[]; unseen: string[] } {
  const inner: readonly Part[] =
    part.type === 'tool-result' && 'output' in part && part.output.type === 'content' ? part.output.value : [part];
  const pieces: string[] = [];
  const unseen: string[] = [];
  for (const one of inner) {
    const text = textOf(one);
    if (text === undefined) unseen.push(one.type);
    else if (text !== '') pieces.push(text);
  }
  return { pieces, unseen };
}

/** What an answer cites, as one text. */
export function citedText(citations: readonly LanguageModelV4Citation[] = []): string {
  return citations.flatMap(({ source, citedText }) => [textOf(source), citedText ?? '']).join('\n');
}

/** Undefined for what is no text. */
function textOf(part: Part): string | undefined {
  switch (part.type) {
    case 'text':
    case 'reasoning':
      return part.text;
    case 'tool-call':
      return [part.toolName, ...lines(parsed(part.input))].join('\n');
    case 'tool-result':
      return 'output' in part ? outputText(part.output) : lines(part.result).join('\n');
    case 'tool-approval-request':
      return '';
    case 'tool-approval-response':
      return part.reason ?? '';
    case 'source': {
      const { title, url, filename }: { title?: string; url?: string; filename?: string } = part;
      return lines({ title, url, filename }).join('\n');
    }
    case 'file':
      return part.data.type === 'text' ? part.data.text : undefined;
    default:
      return undefined;
  }
}

function outputText(output: Output): string | undefined {
  if (output.type === 'execution-denied') return output.reason ?? '';
  return lines(output.value).join('\n');
}

/** A model writes JSON, in which a letter may stand as its number. */
function parsed(input: unknown): unknown {
  if (typeof input !== 'string') return input;
  try {
    return JSON.parse(input);
  } catch {
    return input;
  }
}

/** All that a value of JSON says, names of fields too, a line for each. */
function lines(value: unknown, name = ''): string[] {
  if (value === undefined) return [];
  const label = name === '' ? [] : [`${name}:`];
  if (Array.isArray(value)) return [...label, ...value.flatMap((item) => lines(item))];
  if (typeof value === 'object' && value !== null) {
    return [...label, ...Object.entries(value).flatMap(([field, inner]) => lines(inner, field))];
  }
  return [[...label, `${value}`].join(' ')];
}
