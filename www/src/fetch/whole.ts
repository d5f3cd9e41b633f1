/** An answer that comes whole: each of its parts is judged before any of it is handed on. */

import { type Fields, isFields, misshapen, type Shape, type Sight, textsBy } from '../api/shape.ts';
import type { Said } from '../held.ts';
import type { Message } from '../types.ts';
import { isBlocked, type Judge } from './judge.ts';
import { brokenOff } from './relay.ts';
import { answered } from './response.ts';

export interface Answering {
  judge: Judge;
  shape: Shape;
  messages: readonly Message[];
  sight: Sight;
  throws: boolean;
}

/** The response as it came, or without what was blocked.
 * @throws GuardError where it cannot be judged */
export async function judgeWhole(response: Response, answering: Answering): Promise<Response> {
  const { judge, shape, messages, sight, throws } = answering;
  const bytes = await response.arrayBuffer().catch(brokenOff);
  const answer = parse(new TextDecoder().decode(bytes));
  let kept = answer;
  for (const { said, withhold } of shape.parts(answer, sight)) {
    try {
      await judgePart(judge, messages, said);
    } catch (error) {
      if (throws || !isBlocked(error)) throw error;
      kept = withhold(kept);
    }
  }
  const type = response.headers.get('content-type') ?? 'application/json';
  return answered(kept === answer ? bytes : JSON.stringify(kept), type, response);
}

async function judgePart(judge: Judge, messages: readonly Message[], said: readonly Said[]): Promise<void> {
  const calls = said.filter(({ kind }) => kind === 'call');
  const others = said.filter(({ kind }) => kind !== 'call');
  for (const [at, texts] of textsBy(others)) await judge.answer(messages, texts, at);
  for (const [at, texts] of textsBy(calls)) await judge.call(messages, texts.join(''), at);
}

function parse(text: string): Fields {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Told below.
  }
  if (!isFields(json)) throw misshapen('a JSON object');
  return json;
}
