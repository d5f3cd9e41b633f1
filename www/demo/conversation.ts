/** The conversation: samples, what is typed, and checking it. */

import type { CheckOptions, Message, Reasoning, Target } from '../src/index.ts';
import { button, byId, choose, chosen } from './dom.ts';
import { clearError, isAbort, showError } from './errors.ts';
import { guard } from './loading.ts';
import { activePolicy } from './policy.ts';
import { samples } from './samples.ts';
import type { Sample } from './samples.ts';
import { showReading, showReasoning, showRunning, showStopped, showVerdict } from './verdict.ts';

const form = byId<HTMLFormElement>('composer');
const prompt = byId<HTMLTextAreaElement>('prompt');
const answer = byId<HTMLTextAreaElement>('answer');
const target = byId<HTMLFieldSetElement>('target');
const strictness = byId<HTMLInputElement>('strictness');
const checkButton = byId<HTMLButtonElement>('check');
const stopButton = byId<HTMLButtonElement>('stop');

let running: AbortController | undefined;
/** What was said before the turn that is judged. */
let earlier: readonly Message[] = [];

/** Wires the form, the samples and the two keys. */
export function startConversation(): void {
  byId('samples').append(...samples.map((sample) => button(sample.label, 'chip', () => take(sample))));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void check();
  });
  for (const area of [prompt, answer]) area.addEventListener('input', fit);
  stopButton.addEventListener('click', stop);
  byId('next-turn').addEventListener('click', nextTurn);
  byId('start-over').addEventListener('click', () => setEarlier([]));
  if (/Mac|iPhone|iPad/.test(navigator.platform)) byId('check-key').textContent = '⌘';
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      void check();
    } else if (event.key === 'Escape' && running) {
      event.preventDefault();
      stop();
    }
  });
  fit();
}

function take(sample: Sample): void {
  setEarlier([]);
  prompt.value = sample.prompt;
  answer.value = sample.answer ?? '';
  choose(target, 'response');
  fit();
  void check();
}

/** What is typed becomes an earlier turn, and there is room for the next one. */
function nextTurn(): void {
  if (prompt.value.trim()) {
    const answered: Message[] = answer.value.trim() ? [{ role: 'assistant', content: answer.value }] : [];
    setEarlier([...earlier, { role: 'user', content: prompt.value }, ...answered]);
    prompt.value = answer.value = '';
    fit();
  }
  prompt.focus();
}

function setEarlier(messages: readonly Message[]): void {
  earlier = messages;
  byId('earlier').hidden = messages.length === 0;
  byId('earlier-count').textContent = `Judged behind earlier messages: ${messages.length}.`;
}

function stop(): void {
  running?.abort();
}

/** What is on trial: with an answer, whichever side is chosen; the user's message alone otherwise. */
function input(): { messages: Message[]; target: Target } {
  const judged: Target = answer.value.trim() && chosen(target) === 'response' ? 'response' : 'prompt';
  const messages: Message[] = [...earlier, { role: 'user', content: prompt.value }];
  if (judged === 'response') messages.push({ role: 'assistant', content: answer.value });
  return { messages, target: judged };
}

async function check(): Promise<void> {
  if (!prompt.value.trim()) {
    prompt.focus();
    return;
  }
  running?.abort();
  const abort = new AbortController();
  running = abort;
  const { messages, target } = input();
  const reasoning = chosen(byId('reasoning')) as Reasoning;
  const options: CheckOptions = { target, reasoning, strictness: strictness.valueAsNumber, signal: abort.signal };
  const policy = activePolicy();
  if (policy !== undefined) options.policy = policy;

  clearError();
  setRunning(true);
  showRunning(messages);
  try {
    const ready = await guard(abort.signal);
    if (running !== abort) return;
    showReading();
    for await (const event of ready.stream(messages, options)) {
      if (running !== abort) return;
      if (event.type === 'reasoning') showReasoning(event.text);
      else showVerdict(event.verdict, messages);
    }
  } catch (error) {
    if (running !== abort) return;
    const code = (error as { code?: unknown } | null)?.code;
    // Changing the device or the model ends what is running, as the stop button does.
    const stopped = isAbort(error) || code === 'disposed';
    showStopped(stopped ? 'Stopped before there was a verdict.' : 'There is no verdict: the check failed.');
    if (!stopped) showError(error, { retry: { text: 'Check again', run: () => void check() } });
  } finally {
    if (running === abort) {
      running = undefined;
      setRunning(false);
    }
  }
}

function setRunning(is: boolean): void {
  // A disabled button loses the focus: it goes to the one that takes over.
  const focused = document.activeElement;
  stopButton.disabled = !is;
  if (!is && focused === stopButton) checkButton.focus();
}

/** Rows enough for the text, and the choice of a side only where there are two. */
function fit(): void {
  for (const area of [prompt, answer]) {
    area.style.height = 'auto';
    area.style.height = `${Math.min(area.scrollHeight + 2, 320)}px`;
  }
  target.hidden = answer.value.trim() === '';
}
