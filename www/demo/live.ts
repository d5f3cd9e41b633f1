/** The guarded chat: an answer that grows, by a scene or by what the visitor writes, goes through the guard's
 * `transform()` and is cut where that blocks. */

import type { Verdict } from '../src/index.ts';
import { beginAnswer, showAnswer, showComing, showCounts, showCut, showUnfinished, showWhole } from './answer.ts';
import { Arriving } from './arriving.ts';
import { addCheck, clearCurve } from './curve.ts';
import { button, byId } from './dom.ts';
import { clearError, isAbort, showError } from './errors.ts';
import { guard } from './loading.ts';
import { activePolicy } from './policy.ts';
import { CHECK_EVERY, scenes } from './samples.ts';
import { startSnippet } from './snippet.ts';

interface Run {
  answer: Arriving;
  abort: AbortController;
  cut: boolean;
}

const own = byId<HTMLTextAreaElement>('live-own');
const finishButton = byId<HTMLButtonElement>('live-finish');
const stopButton = byId<HTMLButtonElement>('live-stop');
const strictness = byId<HTMLInputElement>('strictness');

let running: Run | undefined;
/** What the visitor has written as the assistant, as far as it was given to a run. */
let written: { text: string; run: Run } | undefined;

/** Wires the scenes, the visitor's own answer and the keys. */
export function startLive(): void {
  byId('scenes').append(
    ...scenes.map(({ label, prompt, answer }) =>
      button(label, 'chip', () => {
        own.value = '';
        written = undefined;
        play(prompt, answer).answer.end();
      }),
    ),
  );
  own.addEventListener('input', (event) => write((event as InputEvent).inputType));
  own.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    // Elsewhere on the page these keys check the conversation.
    event.stopPropagation();
    written?.run.answer.end();
  });
  finishButton.addEventListener('click', () => running?.answer.end());
  stopButton.addEventListener('click', stop);
  document.addEventListener('keydown', (event) => event.key === 'Escape' && stop());
  clearCurve();
  showCounts(0, 0, 0);
  startSnippet();
}

function stop(): void {
  running?.abort.abort();
}

/** What is added to the visitor's answer goes on with it; any other change begins anew. What is pasted is whole. */
function write(how: string | undefined): void {
  const text = own.value;
  const more = written && text.startsWith(written.text);
  if (more && written?.run.cut) return;
  if (text.trim() === '') {
    stop();
    written = undefined;
    return;
  }
  if (more && written && !written.run.answer.complete) {
    written.run.answer.add(text.slice(written.text.length));
    written.text = text;
  } else {
    written = { text, run: play(undefined, text) };
  }
  if (how === 'insertFromPaste' || how === 'insertFromDrop') written?.run.answer.end();
}

/** Lets `text` come as the answer to `question`. */
function play(question: string | undefined, text: string): Run {
  stop();
  let came = '';
  let released = '';
  const verdicts: Verdict[] = [];
  const show = () => {
    if (running !== run) return;
    showAnswer(released, came.slice(released.length));
    showCounts(came.length, released.length, verdicts.length);
  };
  const answer = new Arriving(text, (word) => {
    came += word;
    show();
  });
  const run: Run = { answer, abort: new AbortController(), cut: false };
  running = run;
  clearError();
  clearCurve();
  beginAnswer(question);
  show();
  showRunning(true);

  const through = async () => {
    const { signal } = run.abort;
    const ready = await guard(signal);
    if (running === run) showComing();
    const policy = activePolicy();
    const guarded = answer.words.pipeThrough(
      ready.transform({
        messages: question === undefined ? [] : [{ role: 'user', content: question }],
        ...(policy !== undefined && { policy }),
        strictness: strictness.valueAsNumber,
        checkEvery: CHECK_EVERY,
        // Whoever writes an answer here may pause in it.
        maxWait: 0,
        signal,
        onCheck: (seen, verdict) => {
          if (running !== run) return;
          verdicts.push(verdict);
          addCheck(seen, verdict);
        },
      }),
    );
    const write = (words: string | Uint8Array) => {
      released += words;
      show();
    };
    await guarded.pipeTo(new WritableStream({ write }));
  };

  through()
    .then(
      () => running === run && showWhole(verdicts),
      (error: unknown) => running === run && ended(run, error, came.length, came.length - released.length),
    )
    .finally(() => {
      if (running !== run) return;
      showCounts(came.length, released.length, verdicts.length);
      showRunning(false);
      running = undefined;
    });
  return run;
}

/** Whatever ends an answer early: what is held back then is never shown. */
function ended(run: Run, error: unknown, came: number, heldBack: number): void {
  const { code, verdict } = (error ?? {}) as { code?: unknown; verdict?: Verdict };
  run.cut = code === 'blocked';
  if (run.cut) return showCut(verdict, came, heldBack);
  // Changing the device or the model ends what is running, as the stop button does.
  if (isAbort(error) || code === 'disposed') return showUnfinished('Stopped.', heldBack);
  showUnfinished('The check failed.', heldBack);
  showError(error);
}

function showRunning(is: boolean): void {
  const focused = document.activeElement;
  finishButton.disabled = !is;
  stopButton.disabled = !is;
  // A disabled button loses the focus.
  if (!is && (focused === finishButton || focused === stopButton)) own.focus();
}
