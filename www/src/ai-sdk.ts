/** rsafe for the AI SDK: a middleware that judges what a model is asked and what it answers. */

import type {
  LanguageModelV4Content,
  LanguageModelV4GenerateResult,
  LanguageModelV4Middleware,
  LanguageModelV4StreamPart,
  LanguageModelV4Usage,
} from '@ai-sdk/provider';
import { Judge } from './ai-sdk/judge.ts';
import type { GuardMiddlewareOptions } from './ai-sdk/options.ts';
import { GuardedAnswer, withNote } from './ai-sdk/stream.ts';
import { citedText } from './ai-sdk/words.ts';
import { isBlocked } from './held/judge.ts';
import { Passed } from './held/passed.ts';
import { defined } from './plain.ts';
import type { Guard } from './types.ts';

export type { GuardMiddlewareOptions, Where } from './ai-sdk/options.ts';

/** Texts that are remembered. */
const MOST = 1024;

/** A middleware for `wrapLanguageModel`. The prompt is judged before the model is called: what users and tools say, and
 * earlier answers; not the app's own `system` text and definitions of tools. Of the answer, nothing is let through
 * before a check that saw it has passed. What is blocked ends the call with the finish reason `content-filter`, as a
 * result like any other; what cannot be judged fails with the guard's error (in the middle of a stream as a part
 * `error`), and nothing that was held comes out. `providerMetadata.rsafe` has the gravest verdict of the call, without
 * quotes. What passed is remembered by its digest, so that a growing chat costs only what is new.
 *
 * @throws GuardError `bad_input` for options that make no sense. */
export function guardMiddleware(guard: Guard, options: GuardMiddlewareOptions = {}): LanguageModelV4Middleware {
  const passed = new Passed(MOST);
  const { refusal = '', toolCalls, files, onVerdict, ...stream } = options;
  // The guard reads the rest, and says what is no option of a stream.
  guard.transform(stream);

  return {
    specificationVersion: 'v4',

    async wrapGenerate({ doGenerate, params: { prompt, abortSignal } }) {
      const judge = new Judge(guard, options, passed, { prompt, signal: abortSignal ?? new AbortController().signal });
      let result: LanguageModelV4GenerateResult | undefined;
      try {
        await judge.prompt();
        result = await doGenerate();
        await judgeWhole(judge, result);
        return withNote(result, judge);
      } catch (error) {
        if (!isBlocked(error)) throw told(error, abortSignal);
        const { usage = UNKNOWN, warnings = [], response: { id, timestamp, modelId } = {} } = result ?? {};
        const content: LanguageModelV4Content[] = refusal === '' ? [] : [{ type: 'text', text: refusal }];
        return withNote<LanguageModelV4GenerateResult>(
          { content, finishReason: FILTERED, usage, warnings, response: defined({ id, timestamp, modelId }) },
          judge,
        );
      }
    },

    async wrapStream({ doStream, params: { prompt, abortSignal } }) {
      const gone = new AbortController();
      const signal = abortSignal ? AbortSignal.any([abortSignal, gone.signal]) : gone.signal;
      const judge = new Judge(guard, options, passed, { prompt, signal });
      const ending = (error: unknown) => (isBlocked(error) ? refused(refusal, judge) : failed(error));
      try {
        await judge.prompt();
      } catch (error) {
        if (!isBlocked(error)) throw told(error, abortSignal);
        const parts: LanguageModelV4StreamPart[] = [{ type: 'stream-start', warnings: [] }, ...ending(error)];
        return { stream: streamOf(parts.values(), gone, abortSignal) };
      }
      const { stream, ...result } = await doStream();
      const reader = stream.getReader();
      signal.onabort = () => reader.cancel(signal.reason).catch(() => undefined);
      const next = async () => {
        const step = await reader.read();
        signal.throwIfAborted();
        return step;
      };
      const answer = new GuardedAnswer(judge).read(next, ending);
      return { ...result, stream: streamOf(answer, gone, abortSignal) };
    },
  };
}

const FILTERED = { unified: 'content-filter', raw: undefined } as const;

/** Of a model that was not called, or not heard to its end. */
const UNKNOWN: LanguageModelV4Usage = {
  inputTokens: { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined },
};

/** Texts of a kind as one, as they are read; then what they cite, and the other parts. */
async function judgeWhole(
  judge: Judge,
  { content, structuredOutputText }: LanguageModelV4GenerateResult,
): Promise<void> {
  for (const type of ['reasoning', 'text'] as const) {
    await judge.part({ type, text: content.map((part) => (part.type === type ? part.text : '')).join('') });
  }
  const cited = content.map((part) => (part.type === 'text' ? citedText(part.citations) : ''));
  for (const text of [structuredOutputText ?? '', cited.join('\n')]) await judge.part({ type: 'text', text });
  for (const part of content) if (part.type !== 'text' && part.type !== 'reasoning') await judge.part(part);
  await judge.passed(content);
}

/** The end of an answer of which no more is told. */
function* refused(refusal: string, judge: Judge): Generator<LanguageModelV4StreamPart, void, undefined> {
  const id = 'rsafe';
  if (refusal !== '') {
    yield { type: 'text-start', id };
    yield { type: 'text-delta', id, delta: refusal };
    yield { type: 'text-end', id };
  }
  yield withNote<LanguageModelV4StreamPart & { type: 'finish' }>(
    { type: 'finish', finishReason: FILTERED, usage: UNKNOWN },
    judge,
  );
}

/** As a provider tells of a failure in the middle of an answer. */
function failed(error: unknown): LanguageModelV4StreamPart[] {
  return [
    { type: 'error', error },
    { type: 'finish', finishReason: { unified: 'error', raw: undefined }, usage: UNKNOWN },
  ];
}

/** Callers know their own signal's reason, not the guard's error about it. */
function told(error: unknown, signal: AbortSignal | undefined): unknown {
  return signal?.aborted ? signal.reason : error;
}

/** `gone` is told of whichever end. */
function streamOf<T>(
  parts: Iterator<T> | AsyncIterator<T>,
  gone: AbortController,
  signal: AbortSignal | undefined,
): ReadableStream<T> {
  return new ReadableStream<T>({
    async pull(controller) {
      try {
        const { done, value } = await parts.next();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(told(error, signal));
      }
      gone.abort();
    },
    cancel: () => gone.abort(),
  });
}
