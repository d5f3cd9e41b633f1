/** A conversation as a guard must read it where the caller wrote all of it, the answers too: run by run, each in the
 * light of what stands before it. */

import { EDGE, ends, isLong } from './reading.ts';

/** One message: who is said to speak, and all that is said in it, extra fields as well. */
export interface Spoken {
  role: string;
  pieces: readonly string[];
}

/** What is judged at once. */
export interface Run {
  /** Which side says it, or that a tool gave it. */
  side: 'prompt' | 'response' | 'tool';
  /** The end of what was said before it and is read along. */
  before: readonly string[];
  pieces: readonly string[];
  /** The index of its first message. */
  at: number;
}

/** The runs of a conversation, in its order: the messages between two answers as one, each answer and what each tool gave
 * for itself. A long piece is a run of its own, and its run has its ends. An answer at the end is a beginning that the model shall go on
 * with: it is judged as an answer, and as what the caller asks for. So is a short one, in what follows it: a wish may
 * stand in an answer's place. What is judged of a run depends on nothing behind it. */
export function runsOf(messages: readonly Spoken[]): Run[] {
  const runs: Run[] = [];
  let heard: string[] = [];
  let open: (Run & { pieces: string[] }) | null = null;
  const close = () => {
    if (open) heard = lastOf([...open.before, ...open.pieces]);
    open = null;
  };
  const lastAsked = messages.findLastIndex(({ role }) => role !== 'assistant');
  messages.forEach(({ role, pieces }, at) => {
    if (!pieces.length) return;
    const side = sideOf(role);
    if (side !== 'prompt') runs.push({ side, before: [], pieces, at });
    if (side === 'response' && at < lastAsked) {
      close();
      if (pieces.join('').length <= EDGE) heard = lastOf([...heard, ...pieces]);
      return;
    }
    for (const piece of pieces)
      if (side !== 'tool' && isLong(piece)) runs.push({ side: 'prompt', before: [], pieces: [piece], at });
    if (!open) runs.push((open = { side: 'prompt', before: heard, pieces: [], at }));
    open.pieces.push(...pieces.map(ends));
  });
  return runs;
}

const sideOf = (role: string): Run['side'] =>
  role === 'assistant' ? 'response' : /^(tool|function)$/.test(role) ? 'tool' : 'prompt';

/** As many of the last pieces as are read along, the first of them cut. */
function lastOf(pieces: readonly string[]): string[] {
  const last: string[] = [];
  let room = EDGE;
  for (const piece of pieces.toReversed()) {
    if (room <= 0) break;
    last.unshift(piece.slice(-room));
    room -= piece.length;
  }
  return last;
}
