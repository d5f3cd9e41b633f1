/** Which of the known shapes a request has: what its body can be, and where it goes. */

import { anthropicMessages } from './anthropic.ts';
import { chatCompletions, completions } from './choices.ts';
import { ollamaChat, ollamaGenerate } from './ollama.ts';
import { responses } from './responses.ts';
import { type Fields, isFields } from './fields.ts';
import type { Shape } from './shape.ts';

interface Known {
  shape: Shape;
  /** The field that such a body has. */
  has: string;
  /** How its address ends. */
  path: RegExp;
  /** Other fields that tell it where the address does not. */
  tells: readonly string[];
}

const OLLAMA = ['keep_alive', 'options', 'think', 'format', 'raw'];
const RESPONSES = ['instructions', 'max_output_tokens', 'previous_response_id', 'tools', 'reasoning', 'text'];

const KNOWN: readonly Known[] = [
  { shape: chatCompletions, has: 'messages', path: /\/chat\/completions$/, tells: [] },
  {
    shape: anthropicMessages,
    has: 'messages',
    path: /\/messages$/,
    tells: ['anthropic_version', 'system', 'thinking', 'stop_sequences'],
  },
  { shape: ollamaChat, has: 'messages', path: /\/api\/chat$/, tells: OLLAMA },
  { shape: ollamaGenerate, has: 'prompt', path: /\/api\/generate$/, tells: OLLAMA },
  {
    shape: completions,
    has: 'prompt',
    path: /\/completions$/,
    tells: ['max_tokens', 'logprobs', 'temperature', 'suffix', 'best_of', 'echo'],
  },
  { shape: responses, has: 'input', path: /\/responses$/, tells: RESPONSES },
  // A prompt that the API keeps, with the values of its variables.
  { shape: responses, has: 'prompt', path: /\/responses$/, tells: RESPONSES },
];

/** Fields in which chat APIs take what they are asked, those that nobody here knows among them. */
const ASKING = ['messages', 'prompt', 'input', 'inputs', 'contents', 'message', 'requests'];
/** What takes a text and answers without one: embeddings, judges, counters of tokens. */
const NO_CHAT = /\/(?:embeddings|embed|moderations|rerank|tokenize|count_tokens|input_tokens)$/;

/** The shape of a request; null for one that asks no model to write.
 * @returns `'unknown'` for one that may */
export function shapeOf(url: string, body: Fields): Shape | 'unknown' | null {
  const path = /^[^?#]*/.exec(url)![0].replace(/\/+$/, '');
  if (!ASKING.some((field) => (body[field] ?? null) !== null) || NO_CHAT.test(path)) return null;
  const able = KNOWN.filter(({ has }) => (has === 'messages' ? Array.isArray(body[has]) : isAsked(body[has])));
  const told = ({ tells }: Known) => tells.some((field) => field in body);
  const addressed = able.find((known) => known.path.test(path)) ?? able.find(told);
  // OpenAI's own shape is that of most.
  return (addressed ?? able.find(({ shape }) => shape === chatCompletions))?.shape ?? 'unknown';
}

const isAsked = (value: unknown): boolean => typeof value === 'string' || Array.isArray(value) || isFields(value);
