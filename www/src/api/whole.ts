/** An answer that comes whole: each of its parts is judged before any of it is handed on. */

import type { Judge } from '../held/judge.ts';
import type { Said } from '../held/lane.ts';
import type { Kind } from '../held/text.ts';
import { plainly } from '../held/whole.ts';
import type { Message } from '../types.ts';
import { asRead } from '../walk/reading.ts';
import type { Fields } from './fields.ts';
import type { Ends } from './relay.ts';
import { type Shape, type Sight, textsBy } from './shape.ts';

export interface Answering<Where> {
  judge: Judge<Where>;
  shape: Shape;
  /** The conversation that is answered. */
  messages: readonly Message[];
  sight: Sight;
  /** What a text is, by its place. */
  where: (place: string, kind?: Kind) => Where;
  /** What an answer from which something is withheld for this error has besides, or null where all fails with it. */
  ends: Ends;
}

/** The answer as it came, or without what was blocked.
 * @throws GuardError where it cannot be judged */
export async function judgeAnswer<Where>(answer: Fields, answering: Answering<Where>): Promise<Fields> {
  const { shape, sight, ends } = answering;
  let kept = answer;
  for (const { said, withhold } of shape.parts(answer, sight)) {
    try {
      await judgePart(said, answering);
    } catch (error) {
      const end = ends(error);
      if (end === null) throw error;
      kept = { ...withhold(kept), ...end };
    }
  }
  return kept;
}

async function judgePart<Where>(said: readonly Said[], { judge, messages, where }: Answering<Where>): Promise<void> {
  const calls = said.filter(({ kind }) => kind === 'call');
  const others = said.filter(({ kind }) => kind !== 'call');
  for (const [at, texts] of textsBy(others)) await judge.answered(where(at), messages, asRead(texts));
  for (const [at, texts] of textsBy(calls)) await judge.answered(where(at, 'call'), messages, plainly(texts.join('')));
}
