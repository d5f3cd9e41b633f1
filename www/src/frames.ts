/** Tells the frames of a chat API's body (server-sent events, JSON) from text. Judged as text they would hide it: a word comes in
 * pieces, with names and numbers between them. */

import { GuardError } from './errors.ts';

/** Characters that tell what a stream is. */
const TELLING = 512;
const EVENT = /^(?:data|event|id|retry):|^: ?[A-Z\d]/;
const BEGUN_EVENT = /^(?:d?|da|dat|data|e|ev|eve|even|event|i|id|r|re|ret|retr|retry|:|: )$/;
const FRAME = /^[[{\s]*"(?:id|object|model|type|choices|candidates|created|output|error)"\s*:/;
const INSIDE = /"(?:object|choices|candidates|created_at|created|delta|message|role|output|usage|usageMetadata|content_block)"\s*:/;

export class FrameCheck {
  #held: string | undefined = '';

  /** The text that may go on: none until it is known what it is. `over` says that no more will come.
   *
   * @throws GuardError `bad_input` for frames */
  take(text: string, over = false): string {
    if (this.#held === undefined) return text;
    const all = this.#held + text;
    const begins = all.trimStart();
    const framed = EVENT.test(begins) || (FRAME.test(begins) && INSIDE.test(begins.replace(FRAME, '')));
    if (framed) {
      const what = 'expected a stream of text but it begins like the frames of a chat API (server-sent events or JSON)';
      throw new GuardError('bad_input', `${what}: pass on the text inside them, or say \`frames: 'text'\` if that is the text`);
    }
    const open = begins === '' || BEGUN_EVENT.test(begins) || /^[[{]/.test(begins);
    this.#held = open && !over && all.length < TELLING ? all : undefined;
    return this.#held === undefined ? all : '';
  }
}
