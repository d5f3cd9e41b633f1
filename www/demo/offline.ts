/** The page without a network: its service worker, whether everything is stored, new versions, and installing. */

import { byId } from './dom.ts';

/** The service worker's store; the name is the same in `sw.ts`. */
const STORE = 'rsafe-page';

/** What browsers of the Chromium family send before they offer to install a page. */
interface InstallPrompt extends Event {
  prompt(): Promise<unknown>;
}

let stored = false;

/** Wires the parts that need no service worker. */
export function startOffline(): void {
  addEventListener('online', show);
  addEventListener('offline', show);
  addEventListener('beforeinstallprompt', (event) => {
    event.preventDefault();
    const install = byId('install');
    install.hidden = false;
    install.onclick = () => {
      install.hidden = true;
      void (event as InstallPrompt).prompt();
    };
  });
  if (!matchMedia('(display-mode: standalone)').matches) {
    byId('install-hint').textContent = 'Your browser’s menu can add this page to the home screen or the dock.';
  }
  show();
}

/** Registers the service worker, which stores the page. Called when the model has arrived, so that the worker finds it
 * in the browser's HTTP cache instead of fetching it a second time. Resolves when the page works offline, or will not. */
export async function keepForOffline(): Promise<void> {
  if (!('serviceWorker' in navigator)) return;
  const workers = navigator.serviceWorker;
  let controlled = workers.controller !== null;
  workers.addEventListener('controllerchange', () => {
    // Another tab took the new version: this one runs the old one until it is reloaded.
    if (controlled) offerReload(() => location.reload());
    controlled = true;
  });
  try {
    const registration = await workers.register('./sw.js', { updateViaCache: 'none' });
    watch(registration);
    registration.addEventListener('updatefound', () => watch(registration));
    await Promise.race([workers.ready, failed(registration.installing)]);
    await complete(registration);
  } catch {
    // Without a service worker the page works all the same, with a network.
    show();
  }
}

/** Bytes of the page's own store. */
export async function pageBytes(): Promise<number> {
  if (!('caches' in globalThis) || !(await caches.has(STORE))) return 0;
  const responses = await (await caches.open(STORE)).matchAll();
  return responses.reduce((sum, response) => sum + Number(response.headers.get('content-length') ?? 0), 0);
}

/** Forgets the stored page; the next visit stores it again. */
export async function clearPage(): Promise<void> {
  if ('caches' in globalThis) await caches.delete(STORE);
  stored = false;
  show();
}

/** Has the active worker store what is missing: the browser or the visitor may have cleared it. */
async function complete(registration: ServiceWorkerRegistration): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  const reply = new Promise<{ error?: string }>((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
  registration.active?.postMessage('complete', [port2]);
  stored = (await reply).error === undefined;
  show();
}

/** Rejects if the worker gives up its installation. */
function failed(worker: ServiceWorker | null): Promise<never> {
  return new Promise((_, reject) => {
    worker?.addEventListener(
      'statechange',
      () => worker.state === 'redundant' && reject(new Error('the installation failed')),
    );
  });
}

/** Offers a version that waits for its turn. */
function watch(registration: ServiceWorkerRegistration): void {
  const offer = (worker: ServiceWorker) => {
    offerReload(() => {
      navigator.serviceWorker.addEventListener('controllerchange', () => location.reload(), { once: true });
      worker.postMessage('take-over');
    });
  };
  if (registration.waiting && navigator.serviceWorker.controller) offer(registration.waiting);
  const coming = registration.installing;
  coming?.addEventListener('statechange', () => {
    if (coming.state === 'installed' && navigator.serviceWorker.controller) offer(coming);
  });
}

function offerReload(act: () => void): void {
  const offer = byId('new-version');
  offer.hidden = false;
  offer.onclick = act;
}

function show(): void {
  const pill = byId('offline-state');
  const online = navigator.onLine;
  pill.hidden = online && !stored;
  pill.dataset['state'] = online || stored ? 'ready' : 'busy';
  byId('offline-state-text').textContent = online ? 'Works offline' : 'Offline';
}
