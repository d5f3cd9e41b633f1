/** The guard of the page: loading it, changing its device or model, and showing how far that is. */

import { createGuard } from '../src/index.ts';
import type { DeviceChoice, Guard, GuardOptions, Progress } from '../src/index.ts';
import { byId, choose, chosen, facts, megabytes } from './dom.ts';
import { clearError, isAbort, showError } from './errors.ts';

const DEVICE_NAMES = { webgpu: 'WebGPU', cpu: 'CPU' } as const;
const STAGES = {
  wasm: 'Starting the engine',
  model: 'Loading the model',
  'self-test': 'Testing itself',
  ready: 'Ready',
} as const;

let model: readonly File[] | undefined;
let loading: { guard: Promise<Guard>; abort: AbortController } | undefined;
const listeners: ((guard?: Guard) => void)[] = [];

/** The guard as it is now or soon. Loads it if the last attempt failed. */
export function guard(): Promise<Guard> {
  return (loading ?? load()).guard;
}

/** `listener` runs each time that a guard is ready, with it, or has failed to load. */
export function onLoaded(listener: (guard?: Guard) => void): void {
  listeners.push(listener);
}

/** Takes the bundle in `files`, or the built-in model without. */
export function useModel(files: readonly File[] | undefined): void {
  model = files;
  byId('back-to-mini').hidden = files === undefined;
  load();
}

/** Wires the switch for the device and starts the first load. */
export function startLoading(): void {
  byId('device').addEventListener('change', () => load());
  load();
}

/** Loads a guard in place of the one that is there; what that one is doing ends. */
function load(): { guard: Promise<Guard>; abort: AbortController } {
  const last = loading;
  last?.abort.abort();
  const abort = new AbortController();
  const options: GuardOptions = {
    device: chosen(byId('device')) as DeviceChoice,
    // The service worker keeps the model with the rest of the page; the library need not keep it too.
    cache: false,
    signal: abort.signal,
    onProgress: (progress) => !abort.signal.aborted && showProgress(progress),
  };
  if (model) options.model = model;
  clearError();
  showProgress({ stage: 'wasm', loaded: 0, total: 0 });
  // One model in memory at a time: the old one goes before the new one comes.
  const guard = Promise.resolve(last?.guard.then((old) => old.dispose()))
    .catch(() => undefined)
    .then(() => createGuard(options));
  const current = { guard, abort };
  loading = current;
  guard.then(
    (ready) => loading === current && showReady(ready),
    (error: unknown) => {
      if (loading !== current) return;
      loading = undefined;
      showFailure(error);
    },
  );
  return current;
}

function showProgress({ stage, loaded, total, cached }: Progress): void {
  const bar = byId<HTMLProgressElement>('load-bar');
  bar.classList.remove('done');
  if (total > 0) {
    bar.max = total;
    bar.value = loaded;
  } else {
    bar.removeAttribute('value');
  }
  const bytes =
    stage === 'model' && total > 0
      ? `: ${(loaded / 1e6).toFixed(1)} of ${megabytes(total)}${cached ? ', from this machine' : ''}`
      : '';
  setState('busy', STAGES[stage] + bytes);
  announce(STAGES[stage]);
}

function showReady(guard: Guard): void {
  const { info } = guard;
  setState('ready', `Ready on ${DEVICE_NAMES[info.device]}`);
  const from = { network: 'this site', cache: 'this machine', files: 'your files' }[info.source];
  facts(byId('machine-facts'), [
    ['Model', `${info.model}, ${megabytes(info.bytes)} from ${from}`],
    ['Device', info.adapter ? `${DEVICE_NAMES[info.device]}, ${info.adapter}` : DEVICE_NAMES[info.device]],
    ['Why', info.reason],
  ]);
  for (const listener of listeners) listener(guard);
}

function showFailure(error: unknown): void {
  setState('failed', 'Not loaded');
  facts(byId('machine-facts'), [['Model', 'none is loaded']]);
  if (!isAbort(error)) {
    showError(error, {
      text: model ? 'Back to rsafe-mini on any device' : 'Try again on any device',
      run: () => {
        choose(byId('device'), 'auto');
        useModel(undefined);
      },
    });
  }
  for (const listener of listeners) listener();
}

function setState(state: 'busy' | 'ready' | 'failed', text: string): void {
  byId('model-state').dataset['state'] = state;
  byId('model-state-text').textContent = text;
  if (state === 'busy') return;
  byId('load-bar').classList.add('done');
  announce(text);
}

/** Stages are read out, bytes are not: they change too often. */
function announce(text: string): void {
  const region = byId('load-stage');
  if (region.textContent !== text) region.textContent = text;
}
