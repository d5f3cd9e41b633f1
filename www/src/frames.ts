/** Tells the frames of a chat API's body (server-sent events, JSON) from text. Judged as text they would hide it: a word comes in
 * pieces, with names and numbers between them. */

import { GuardError } from './errors.ts';

/** Characters that tell an event, and JSON. */
const EVENT_TELLS = 8;
const JSON_TELLS = 512;
const EVENT = /^(data|event|id|retry):|^: ?[A-Z]/;
const JSON_FRAME = /^[[{].*"(choices|candidates|created_at|type": ?"message)"/s;

export class FrameCheck {
  #held: string | undefined = '';

  /** The text that may go on: none until it is known what it is. `over` says that no more will come.
   *
   * @throws GuardError `bad_input` for frames */
  take(text: string, over: boolean): string {
    if (this.#held === undefined) return text;
    const all = this.#held + text;
    const begins = all.trimStart();
    if (EVENT.test(begins) || JSON_FRAME.test(begins)) {
      throw new GuardError('bad_input', 'expected text but got API frames; send the text in them');
    }
    const open = !over && all.length < JSON_TELLS && (begins.length < EVENT_TELLS || /^[[{]/.test(begins));
    this.#held = open ? all : undefined;
    return open ? '' : all;
  }
}
