/** A response that is held back until it is checked, as a pair of web streams. (A `TransformStream` is not told when its
 * reader leaves, on most browsers; then the monitor would stay.) */

import type { EngineMonitor, MonitorStep } from './engine.ts';
import { GuardError, toGuardError } from './errors.ts';
import { FrameCheck } from './frames.ts';
import { onAbort } from './signals.ts';
import type { TransformOptions } from './types.ts';

type Chunk = string | Uint8Array;

/** A stream that is used. */
export interface Begun {
  /** Fires when the caller aborts or the guard is disposed of. */
  signal: AbortSignal;
  /** Called once, at whichever end. */
  stop(): void;
}

export interface TransformParts {
  /** Called once, when text comes or somebody waits for it: a stream that nobody uses holds on to nothing. */
  begin(): Begun;
  /** Starts the monitor, at the first text. */
  open(signal: AbortSignal): Promise<EngineMonitor>;
  /** Whether frames of a chat API are refused. */
  refuseFrames: boolean;
  /** Milliseconds after which text is checked whose sentence has not ended; 0: never. */
  maxWait: number;
  onCheck: TransformOptions['onCheck'];
}

/** `T` is for the compiler: what comes out is of the kind that went in. */
export function guardTransform<T extends Chunk>({
  begin,
  open,
  refuseFrames,
  maxWait,
  onCheck,
}: TransformParts): TransformStream<T, T> {
  const input = new TextInput();
  const frames = refuseFrames ? new FrameCheck() : undefined;
  let monitor: EngineMonitor | undefined;
  let over = false;
  let seen = 0;
  /** When the first text came that no check has seen. */
  let since = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let early: Promise<void> | undefined;
  let output!: ReadableStreamDefaultController<T>;
  let sink!: WritableStreamDefaultController;
  let wanted = () => {};
  let begun: Begun | undefined;
  let letGo = () => {};

  const use = (): Begun => {
    if (begun) return begun;
    begun = begin();
    const { signal } = begun;
    letGo = onAbort(signal, () => queueMicrotask(() => fail(toGuardError(signal.reason))));
    return begun;
  };

  const close = () => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    letGo();
    monitor?.close();
    wanted();
    begun?.stop();
  };
  const fail = (error: GuardError) => {
    if (over) return;
    close();
    output.error(error);
    sink.error(error);
  };

  const release = ({ released, verdict, blocked }: MonitorStep) => {
    if (over) return;
    if (released !== '') output.enqueue(input.asItCame(released) as T);
    if (verdict) onCheck?.(seen, verdict);
    if (!blocked) return;
    const what = verdict ? `score ${verdict.score.toFixed(3)}, decision ${verdict.decision}` : 'no verdict';
    throw new GuardError('blocked', `the text was flagged after ${seen} characters (${what})`, { verdict });
  };

  const checkNow = async () => {
    if (monitor && begun && !over) release(await monitor.checkNow(begun.signal));
    since = 0;
  };

  /** What waits too long is checked: now, or when nothing else has come until then. */
  const watch = async () => {
    if (over || maxWait === 0) return;
    const left = since + maxWait - Date.now();
    if (left <= 0) await checkNow();
    else timer = setTimeout(() => (early = guarded(checkNow)).catch(() => {}), left);
  };

  /** Nothing is checked beside the next step, and none follows a check that failed. */
  const settle = async () => {
    clearTimeout(timer);
    await early;
  };

  const feed = async (came: string, last = false) => {
    const now = Date.now();
    const { signal } = use();
    if (came === '' && !monitor) return;
    monitor ??= await open(signal);
    // The end may have come while the monitor was on its way.
    if (over) return monitor.close();
    const text = frames ? frames.take(came, last) : came;
    if (text === '') return;
    seen += text.length;
    await settle();
    if (over) return;
    const step = await monitor.push(text, signal);
    // Behind a check that was made, only what has just come is left.
    if (step.verdict || since === 0) since = now;
    release(step);
    if (!over && (output.desiredSize ?? 0) < 0) await new Promise<void>((resolve) => (wanted = resolve));
    if (!last) await watch();
  };

  /** Whatever goes wrong ends the stream. */
  const guarded = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (thrown) {
      const error = toGuardError(thrown);
      fail(error);
      throw error;
    }
  };

  // Nothing is pulled before somebody reads.
  const readable = new ReadableStream<T>(
    {
      start: (controller) => void (output = controller),
      pull: () => {
        use();
        wanted();
      },
      cancel: (reason) => {
        close();
        sink.error(reason ?? new GuardError('aborted', 'the reader of the checked text left'));
      },
    },
    { highWaterMark: 0 },
  );
  const writable = new WritableStream<T>({
    start: (controller) => void (sink = controller),
    write: (chunk) => guarded(() => feed(input.take(chunk))),
    close: () =>
      guarded(async () => {
        await feed(input.end(), true);
        await settle();
        if (monitor && begun && !over) release(await monitor.finish(begun.signal));
        close();
        output.close();
      }),
    abort: (reason) => {
      if (over) return;
      close();
      output.error(reason);
    },
  });
  return { readable, writable };
}

/** Chunks as text that is whole: no half characters at the seams. */
class TextInput {
  #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #encoder = new TextEncoder();
  #half = '';
  #bytes = false;

  take(chunk: Chunk): string {
    if (typeof chunk === 'string') return this.#whole(chunk);
    if (chunk instanceof Uint8Array) {
      this.#bytes = true;
      return this.#whole(this.#decoder.decode(chunk, { stream: true }));
    }
    throw new GuardError('bad_input', `expected chunks of text or bytes (Uint8Array) but got ${typeof chunk}`);
  }

  /** What was kept back for a rest that did not come. */
  end(): string {
    const rest = this.#half + this.#decoder.decode();
    this.#half = '';
    return rest;
  }

  asItCame(text: string): Chunk {
    return this.#bytes ? this.#encoder.encode(text) : text;
  }

  /** A pair of surrogates may come in two strings; the core takes it for one character only if it sees both. */
  #whole(text: string): string {
    const all = this.#half + text;
    const last = all.charCodeAt(all.length - 1);
    const cut = last >= 0xd800 && last <= 0xdbff ? all.length - 1 : all.length;
    this.#half = all.slice(cut);
    return all.slice(0, cut);
  }
}
