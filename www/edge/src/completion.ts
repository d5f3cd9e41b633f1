/** Chat completions and their chunks: what of them is text, and how a withheld choice looks. */

import { isBlocked, plainly, type Said } from 'rsafe/held';
import { byPlace, ends, type Piece, sideBySide, Unreadable, walk } from 'rsafe/walk';
import type { Target, Verdict } from 'rsafe/workerd';

import { badInput, errorBody, type Fields, HttpError, isFields, type Told } from './http.ts';

/** Why a text was withheld: what the guard found, or why it could not tell. It quotes nothing of the text: reasoning and
 * evidence would hand out the very words that are held back. */
export type Reason =
  | Pick<Verdict, 'decision' | 'tier' | 'flagged' | 'score' | 'categories' | 'rule' | 'failure' | 'usage'>
  | { error: Told };

/** The reason behind an error: what is blocked carries a verdict. */
export function reasonOf(error: unknown): Reason {
  if (!isBlocked(error) || !error.verdict) return errorBody(error);
  const { decision, tier, flagged, score, categories, rule, failure, usage } = error.verdict;
  return { decision, tier, flagged, score, categories, rule, usage, ...(failure === undefined ? {} : { failure }) };
}

/** What a withheld choice carries as `rsafe`. */
export const note = (target: Target, choice: number, reason: Reason): object => ({ target, choice, ...reason });

const unreadable = (what: string) => new HttpError(502, 'upstream', `the upstream answered with ${what}`);

/** The pieces of something of an upstream's.
 * @throws HttpError `upstream`, which names what cannot be judged in words of ours */
export function piecesOf(value: unknown, at: string, pass: ReadonlySet<string>): Piece[] {
  try {
    return walk(value, { pass, at });
  } catch (error) {
    if (error instanceof Unreadable) throw unreadable(`\`${error.place}\`, which ${error.what}`);
    throw error;
  }
}

/** The texts of pieces as they are judged: each place for itself, what stands side by side, and each call of a tool. */
export function textsOf(pieces: readonly Piece[]): string[][] {
  const places = [...byPlace(pieces).values()];
  const calls = byPlace(callsIn(pieces).map((part) => ({ ...part, named: false })));
  const told = [...calls.values()].map((parts) => [plainly(parts.join(''))]);
  return places.length < 2 ? [...places, ...told] : [...places, sideBySide(pieces).map(ends), ...told];
}

/** Where the call of a tool has its name, and what the tool is given. */
const CALL =
  /^((?:message|delta)\.(?:tool_calls\[\d+\]|function_call))\.(?:(?:function|custom)\.)?(name|arguments|input)\b/;

/** The calls of tools among the pieces, each as one text that is judged as a whole, its name first. */
export function callsIn(pieces: readonly Piece[]): Said[] {
  const names: Said[] = [];
  const given: Said[] = [];
  for (const { path, text, named } of pieces) {
    const [, place, field] = CALL.exec(path) ?? [];
    if (place === undefined || named) continue;
    if (field === 'name') names.push({ place, path: place, text: `${text} `, kind: 'call' });
    else given.push({ place, path: place, text, kind: 'call' });
  }
  return [...names, ...given];
}

/** The message or delta of an upstream's choice. A choice that has its text anywhere else is not read, so not passed. */
export function spokenIn(choice: Fields, field: 'message' | 'delta'): Fields {
  for (const other of ['message', 'delta', 'text']) {
    if (other !== field && (choice[other] ?? null) !== null) {
      throw unreadable(`\`${other}\` where \`${field}\` belongs, which cannot be judged`);
    }
  }
  const spoken = choice[field] ?? {};
  if (!isFields(spoken)) throw unreadable(`a \`${field}\` that is not an object`);
  return spoken;
}

/** Whether a message or delta has something besides its role and texts, such as tool calls. */
export function hasMore(message: Fields): boolean {
  return Object.entries(message).some(([field, value]) => {
    if (field === 'role' || typeof value === 'string' || value === null || value === undefined) return false;
    return !Array.isArray(value) || (value.length > 0 && field !== 'content');
  });
}

/** A choice whose token probabilities tell no more than its text: they stay where the tokens are the text, without the
 * alternatives to them, which nobody judged. */
export function withPlainLogprobs(choice: Fields, spoken: Fields): Fields {
  const { logprobs } = choice;
  if (logprobs === null || logprobs === undefined) return choice;
  const of = (field: 'content' | 'refusal') => {
    const tokens = isFields(logprobs) ? logprobs[field] : null;
    if (!Array.isArray(tokens) || !tokens.every(isFields)) return null;
    if (tokens.map(({ token }) => token).join('') !== (spoken[field] ?? '')) return null;
    return tokens.map(({ token, logprob }) => {
      const bytes = [...new TextEncoder().encode(String(token))];
      return { token, logprob: typeof logprob === 'number' ? logprob : null, bytes, top_logprobs: [] };
    });
  };
  const content = of('content');
  const refusal = of('refusal');
  return { ...choice, logprobs: content || refusal ? { content, refusal } : null };
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
  const named = typeof model === 'string' && walk({ model }).length === 0;
  return { id: `chatcmpl-${crypto.randomUUID()}`, object, created, model: named ? model : 'unknown' };
}

/** Options of a request that would bring back what cannot be judged. */
export function refuseUnjudgeable(body: Fields, maxChoices: number): void {
  const { modalities, audio, n, stream } = body;
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean')
    throw badInput('stream must be true or false', 'stream');
  if (audio !== undefined && audio !== null) throw badInput('audio cannot be judged; ask for text only', 'audio');
  if (
    modalities !== undefined &&
    modalities !== null &&
    !(Array.isArray(modalities) && modalities.every((m) => m === 'text'))
  ) {
    throw badInput('modalities must be ["text"]: nothing else can be judged', 'modalities');
  }
  if (n !== undefined && n !== null && !(Number.isInteger(n) && Number(n) >= 1 && Number(n) <= maxChoices)) {
    throw badInput(`n must be a whole number from 1 to ${maxChoices}, not ${JSON.stringify(n)}`, 'n');
  }
}
