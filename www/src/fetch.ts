/** `rsafe/fetch`: a `fetch` that judges what goes up to a model's API and holds back what comes down, for the clients
 * that take one: OpenAI's, Anthropic's, Ollama's, LangChain, the AI SDK's providers. */

import { shapeOf } from './api/known.ts';
import { GuardError } from './errors.ts';
import { Exchange } from './fetch/exchange.ts';
import { type GuardFetchOptions, readOptions } from './fetch/options.ts';
import { readRequest } from './fetch/request.ts';
import { checked, isFunction } from './plain.ts';
import type { Guard } from './types.ts';

export type { GuardFetchOptions, Where } from './fetch/options.ts';

/** A `fetch` that judges chats. A request's new messages are judged before it is sent; a whole answer before it is
 * handed on; a streamed one is held back until a check that saw its text has passed. Requests that ask no model to
 * write go through untouched, and so do answers with an error status.
 *
 * It rejects, and a stream of it fails, with a `GuardError` where something cannot be judged: nothing that was not
 * judged comes out. Aborted, it rejects as the `fetch` behind it.
 *
 * @throws GuardError `bad_input` for options that make no sense. */
export function guardFetch(guard: Guard, options: GuardFetchOptions = {}): typeof fetch {
  checked('guard', guard ?? null, 'a guard', isGuard);
  const settings = readOptions(options);
  return async (input, init) => {
    const asked = await readRequest(input, init);
    const shape = asked.body && shapeOf(asked.url, asked.body);
    if (shape === 'unknown' && settings.refuses) throw unknownShape();
    if (!asked.body || !shape || shape === 'unknown') return settings.fetch(asked.input, asked.init);
    return new Exchange(guard, settings, asked, asked.body, shape).run();
  };
}

function unknownShape(): GuardError {
  const what = 'expected a request of a chat API that is known here but got another, which nobody can judge';
  return new GuardError('bad_input', `${what}; set unknown: 'pass' to send such as it is`);
}

function isGuard(value: unknown): boolean {
  const { check, transform } = (value ?? {}) as Guard;
  return isFunction(check) && isFunction(transform);
}
