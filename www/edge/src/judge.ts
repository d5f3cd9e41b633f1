/** Judges the runs of a chat that nobody remembers, as few checks as may be. */

import { asking, type Judge, type Passed } from 'rsafe/held';
import { asRead, type Run } from 'rsafe/walk';
import type { Message, Target } from 'rsafe/workerd';

/** Judges the texts of one chat. */
export type ChatJudge = Judge<Target>;

/** Runs that nobody remembers are judged together up to so many characters (UTF-16 units): one check reads a page of short
 * messages in the time of two. */
const PAGE = 600;

/** Judges the runs of a conversation.
 * @throws Blocked */
export async function judgeRuns(
  judge: ChatJudge,
  passed: Passed,
  runs: readonly Run[],
  messages: readonly Message[],
): Promise<void> {
  for (const { side, at, pieces } of runs) {
    if (side === 'tool') await judge.gave('prompt', pieces);
    if (side === 'response') await judge.answered('prompt', messages.slice(0, at), asRead(pieces));
  }
  for await (const { keys, pieces } of pagesOf(judge, passed, runs)) {
    await judge.asked('prompt', pieces);
    for (const key of keys) passed.add(key);
  }
}

/** Runs that are judged as one text, and what they are remembered by. */
interface Page {
  keys: (string | undefined)[];
  pieces: string[];
}

/** What nobody remembers of the caller's runs, short ones together. A page has no gap in it: what it reads stands side by
 * side. */
async function* pagesOf(judge: ChatJudge, passed: Passed, runs: readonly Run[]): AsyncGenerator<Page, void, undefined> {
  let page: Page = { keys: [], pieces: [] };
  for (const run of runs) {
    if (run.side !== 'prompt') continue;
    const own = [...run.before, ...run.pieces];
    const key = await judge.keyOf(asking(own), 'prompt');
    const known = passed.has(key);
    if (!known) {
      page.pieces.push(...(page.keys.length === 0 ? own : run.pieces));
      page.keys.push(key);
    }
    if (page.keys.length > 0 && (known || sizeOf(page.pieces) >= PAGE)) {
      yield page;
      page = { keys: [], pieces: [] };
    }
  }
  if (page.keys.length > 0) yield page;
}

const sizeOf = (pieces: readonly string[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);
