/** The guard of the page: loading it, changing its device or model, and showing how far that is. */

import mini from 'rsafe-mini';
import { createGuard } from '../src/index.ts';
import type { DeviceChoice, Guard, GuardOptions, Progress } from '../src/index.ts';
import webgpu from '../src/webgpu.ts';
import { byId, choose, chosen, facts, megabytes } from './dom.ts';
import { clearError, isAbort, showError } from './errors.ts';

/** Written in by the build: whether the build for WebGPU is still being made, and the page is one for the time until then. */
declare const WEBGPU_LATER: boolean;
export const webgpuLater = WEBGPU_LATER;

const DEVICE_NAMES = { webgpu: 'WebGPU', cpu: 'CPU' } as const;
const STAGES = {
  wasm: 'Starting the engine',
  model: 'Loading the model',
  'self-test': 'Testing itself',
  ready: 'Ready',
} as const;

/** What a visitor may choose: the device, and a bundle in place of the built-in model. */
interface Choice {
  device: DeviceChoice;
  files: readonly File[] | undefined;
}

let files: readonly File[] | undefined;
/** The guard that judges until another one is ready. */
let working: { guard: Guard; choice: Choice } | undefined;
let loading: { guard: Promise<Guard>; abort: AbortController } | undefined;
const listeners: ((guard?: Guard) => void)[] = [];

/** The guard that is chosen, now or soon. Loads it if the last attempt failed. Rejects when `signal` fires. */
export function guard(signal: AbortSignal): Promise<Guard> {
  const chosen = loading?.guard ?? (working ? Promise.resolve(working.guard) : load());
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    chosen.then(resolve, reject);
  });
}

/** `listener` runs each time that a guard is ready, with it, or has failed to load. */
export function onLoaded(listener: (guard?: Guard) => void): void {
  listeners.push(listener);
}

/** Takes the bundle in `bundle`, or the built-in model without. */
export function useModel(bundle: readonly File[] | undefined): void {
  files = bundle;
  void load();
}

/** Wires the switch for the device and starts the first load. */
export function startLoading(): void {
  byId('device').addEventListener('change', () => void load());
  byId('webgpu-later').hidden = !webgpuLater;
  byId('device').querySelector<HTMLInputElement>('input[value=webgpu]')!.disabled = webgpuLater;
  void load();
}

/** Loads a guard in place of the one that is there. That one stays until the new one is ready, so that a wrong file leaves
 * the page with a guard; then what it is doing ends. */
function load(): Promise<Guard> {
  loading?.abort.abort();
  const abort = new AbortController();
  const choice: Choice = { device: chosen(byId('device')) as DeviceChoice, files };
  const options: GuardOptions = {
    model: choice.files ?? mini,
    webgpu,
    device: webgpuLater ? 'cpu' : choice.device,
    // The service worker keeps the model with the rest of the page; the library need not keep it too.
    cache: false,
    signal: abort.signal,
    onProgress: (progress) => !abort.signal.aborted && showProgress(progress),
  };
  clearError();
  showProgress({ stage: 'wasm', loaded: 0, total: 0 });
  const guard = createGuard(options);
  const current = { guard, abort };
  loading = current;
  guard.then(
    (ready) => {
      // Another choice came after it was loaded.
      if (loading !== current) return ready.dispose();
      loading = undefined;
      const last = working;
      working = { guard: ready, choice };
      showReady(ready);
      return last?.guard.dispose();
    },
    (error: unknown) => {
      if (loading !== current) return;
      loading = undefined;
      if (working) keep(working, error);
      else showFailure(error);
    },
  );
  return guard;
}

/** Goes on with the guard that was there. */
function keep({ guard, choice }: { guard: Guard; choice: Choice }, error: unknown): void {
  files = choice.files;
  choose(byId('device'), choice.device);
  showReady(guard);
  if (!isAbort(error)) showError(error, { note: `${guard.info.model} stays loaded.` });
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
    ['Why', webgpuLater ? 'the build for WebGPU is still being made' : info.reason],
  ]);
  byId('back-to-mini').hidden = files === undefined;
  for (const listener of listeners) listener(guard);
}

function showFailure(error: unknown): void {
  setState('failed', 'Not loaded');
  facts(byId('machine-facts'), [['Model', 'none is loaded']]);
  if (!isAbort(error)) {
    showError(error, {
      retry: {
        text: files ? 'Back to rsafe-mini on any device' : 'Try again on any device',
        run: () => {
          choose(byId('device'), 'auto');
          useModel(undefined);
        },
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
