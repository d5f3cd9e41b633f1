/** Judges texts of one chat, and remembers those that passed. */

import { asRead, isWordless, type Run } from 'rsafe/walk';
import type { Guard, Message, Target, Verdict } from 'rsafe/workerd';

import type { GuardHolder } from './guard.ts';
import { digestOf, type Memory } from './memory.ts';

/** Runs that nobody remembers are judged together up to so many characters (UTF-16 units): one check reads a page of short
 * messages in the time of two. */
const PAGE = 600;

export class Judge {
  readonly guard: Guard;
  readonly holder: GuardHolder;
  readonly signal: AbortSignal;
  readonly #memory: Memory;

  constructor(holder: GuardHolder, guard: Guard, memory: Memory, signal: AbortSignal) {
    this.holder = holder;
    this.guard = guard;
    this.signal = signal;
    this.#memory = memory;
  }

  /** Judges what a caller says, whose parts stand side by side. The verdict if it is flagged, else null. */
  async prompt(pieces: readonly string[]): Promise<Verdict | null> {
    return this.#page([await this.#promptKey(pieces)], pieces);
  }

  /** Judges what answers `messages`. The verdict if it is flagged, else null. */
  async response(messages: readonly Message[], text: string): Promise<Verdict | null> {
    const key = await this.#key('response', messages, text);
    if (isWordless(text) || this.#memory.has(key)) return null;
    const verdict = await this.#check([...messages, { role: 'assistant', content: text }], 'response');
    if (verdict.flagged) return verdict;
    this.#memory.add(key);
    return null;
  }

  /** Notes an answer that was judged piece by piece. */
  async passed(messages: readonly Message[], text: string): Promise<void> {
    this.#memory.add(await this.#key('response', messages, text));
  }

  /** Judges the runs of a conversation. The first verdict that is flagged, or null. */
  async runs(runs: readonly Run[], messages: readonly Message[]): Promise<Verdict | null> {
    for (const run of runs) {
      if (run.side !== 'response') continue;
      const flagged = await this.response(messages.slice(0, run.at), asRead(run.pieces));
      if (flagged) return flagged;
    }
    for await (const { keys, pieces } of this.#pages(runs)) {
      const flagged = await this.#page(keys, pieces);
      if (flagged) return flagged;
    }
    return null;
  }

  /** What nobody remembers of the caller's runs, short ones together. A page has no gap in it: what it reads stands side by
   * side. */
  async *#pages(runs: readonly Run[]): AsyncGenerator<Page, void, undefined> {
    let page: Page = { keys: [], pieces: [] };
    for (const run of runs) {
      if (run.side !== 'prompt') continue;
      const own = [...run.before, ...run.pieces];
      const key = await this.#promptKey(own);
      const known = this.#memory.has(key);
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

  async #page(keys: readonly string[], pieces: readonly string[]): Promise<Verdict | null> {
    if (keys.every((key) => this.#memory.has(key))) return null;
    const content = asRead(pieces);
    if (isWordless(content)) return null;
    const verdict = await this.#check([{ role: 'user', content }], 'prompt');
    if (verdict.flagged) return verdict;
    // A rule that allows speaks for the piece in which it matched, not for those beside it.
    if (verdict.rule !== null && pieces.length > 1) {
      for (const piece of pieces) {
        const flagged = await this.prompt([piece]);
        if (flagged) return flagged;
      }
    }
    for (const key of keys) this.#memory.add(key);
    return null;
  }

  #check(messages: readonly Message[], target: Target): Promise<Verdict> {
    return this.holder.check(this.guard, messages, { target, signal: this.signal });
  }

  #promptKey(pieces: readonly string[]): Promise<string> {
    return this.#key('prompt', [], asRead(pieces));
  }

  #key(target: Target, context: readonly Message[], text: string): Promise<string> {
    const { policy, info } = this.guard;
    return digestOf(info.model, policy, target, context, text);
  }
}

/** Runs that are judged as one text, and what they are remembered by. */
interface Page {
  keys: string[];
  pieces: string[];
}

const sizeOf = (pieces: readonly string[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);
