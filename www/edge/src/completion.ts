/** Chat completions and their chunks: which fields hold text, and how a withheld choice looks. */

import type { Target, Verdict } from 'rsafe/workerd';

import { badInput, codeOf, errorBody, type Coded, type Fields, HttpError, isFields } from './http.ts';

/** Why a text was withheld: what the guard found, or why it could not tell. It quotes nothing of the text: reasoning and
 * evidence would hand out the very words that are held back. */
export type Reason = Pick<Verdict, 'decision' | 'flagged' | 'score' | 'categories' | 'rule' | 'failure' | 'usage'> | { error: Coded };

export function reasonOf(verdict: Verdict): Reason {
  const { decision, flagged, score, categories, rule, failure, usage } = verdict;
  return { decision, flagged, score, categories, rule, usage, ...(failure === undefined ? {} : { failure }) };
}

/** The reason behind an error: a transform's `blocked` carries a verdict. */
export function reasonOfError(error: unknown): Reason {
  const { verdict } = error as { verdict?: Verdict };
  return codeOf(error)?.code === 'blocked' && verdict ? reasonOf(verdict) : errorBody(error);
}

/** What a withheld choice carries as `rsafe`. */
export const note = (target: Target, choice: number, reason: Reason): object => ({ target, choice, ...reason });

/** The texts of a message or delta by field: every string but the role, since what is not known is shown, too. */
export function textsOf(message: Fields): Map<string, string> {
  const texts = new Map<string, string>();
  for (const [field, value] of Object.entries(message)) {
    if (field === 'role' || value === '') continue;
    if (typeof value === 'string') texts.set(field, value);
    else if (field === 'content' && Array.isArray(value)) texts.set(field, partsOf(value));
    else if (field === 'audio' && value !== null) throw unreadable('audio');
  }
  return texts;
}

function partsOf(parts: unknown[]): string {
  return parts.map((part) => {
    if (isFields(part) && typeof part.text === 'string' && part.type === 'text') return part.text;
    throw unreadable(`a content part of the type ${JSON.stringify(isFields(part) ? part.type : part)}`);
  }).join('\n');
}

/** The message or delta of an upstream's choice. A choice that has its text anywhere else is not read, so not passed. */
export function spokenIn(choice: Fields, field: 'message' | 'delta'): Fields {
  for (const other of ['message', 'delta', 'text']) {
    if (other !== field && (choice[other] ?? null) !== null) throw unreadable(`\`${other}\` where \`${field}\` belongs`);
  }
  const spoken = choice[field] ?? {};
  if (!isFields(spoken)) throw unreadable(`a \`${field}\` that is not an object`);
  return spoken;
}

const unreadable = (what: string) => new HttpError(502, 'upstream', `the upstream answered with ${what}, which cannot be judged`);

/** Whether a message or delta has something besides its role and texts, such as tool calls. */
export function hasMore(message: Fields): boolean {
  return Object.entries(message).some(([field, value]) => {
    if (field === 'role' || typeof value === 'string' || value === null || value === undefined) return false;
    return !Array.isArray(value) || (value.length > 0 && field !== 'content');
  });
}

/** The choice `index` as it is when withheld, in a completion. */
export const withheldChoice = (index: number): Fields => ({
  index,
  message: { role: 'assistant', content: '', refusal: null },
  logprobs: null,
  finish_reason: 'content_filter',
});

/** The last chunk of a choice that is withheld from here on. */
export function withheldChunk(envelope: Fields, index: number, rsafe: object): Fields {
  const choice = { index, delta: {}, logprobs: null, finish_reason: 'content_filter' };
  return { ...envelope, choices: [choice], rsafe };
}

/** What a completion or chunk of our own begins with. */
export function ownEnvelope(object: 'chat.completion' | 'chat.completion.chunk', model: unknown): Fields {
  const created = Math.floor(Date.now() / 1000);
  return { id: `chatcmpl-${crypto.randomUUID()}`, object, created, model: typeof model === 'string' ? model : 'unknown' };
}

/** Options of a request that would bring back what cannot be judged. */
export function refuseUnjudgeable(body: Fields, maxChoices: number): void {
  const { modalities, audio, n, stream } = body;
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean') throw badInput('stream must be true or false');
  if (audio !== undefined && audio !== null) throw badInput('audio cannot be judged; ask for text only');
  if (modalities !== undefined && modalities !== null && !(Array.isArray(modalities) && modalities.every((m) => m === 'text'))) {
    throw badInput('modalities must be ["text"]: nothing else can be judged');
  }
  if (n !== undefined && n !== null && !(Number.isInteger(n) && Number(n) >= 1 && Number(n) <= maxChoices)) {
    throw badInput(`n must be a whole number from 1 to ${maxChoices}, not ${JSON.stringify(n)}`);
  }
}
