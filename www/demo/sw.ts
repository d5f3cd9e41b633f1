/** The service worker: keeps every file of the page by its content, and answers from that first.
 *
 * The store is addressed by content hash, so a torn installation goes on where it stopped, a new version fetches only
 * what changed, and an old page never gets a new page's files. */

interface PrecachedFile {
  path: string;
  bytes: number;
  sha256: string;
}

/** Written in by the build. */
declare const PRECACHE: readonly PrecachedFile[];

/** The part of a service worker's scope that is used here; TypeScript's own types exclude those of a page. */
interface Scope {
  registration: { scope: string };
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: Extendable) => void): void;
  addEventListener(type: 'fetch', listener: (event: FetchAsked) => void): void;
  addEventListener(type: 'message', listener: (event: Extendable & MessageEvent<unknown>) => void): void;
}
interface Extendable {
  waitUntil(work: Promise<unknown>): void;
}
interface FetchAsked extends Extendable {
  request: Request;
  respondWith(response: Promise<Response>): void;
}

const scope = self as unknown as Scope;
const STORE = 'rsafe-page';
const byAddress = new Map(PRECACHE.map((file) => [addressOf(file), file]));

scope.addEventListener('install', (event) => event.waitUntil(fill()));
scope.addEventListener('activate', (event) => event.waitUntil(sweep().then(() => scope.clients.claim())));

scope.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  url.search = '';
  url.hash = '';
  const home = new URL(scope.registration.scope);
  const isHome = url.href === home.href || url.href === new URL('index.html', home).href;
  const file = byAddress.get(isHome ? home.href : url.href);
  if (event.request.method === 'GET' && file) event.respondWith(answer(file));
});

scope.addEventListener('message', (event) => {
  const port = event.ports[0];
  if (event.data === 'take-over') event.waitUntil(scope.skipWaiting());
  if (event.data === 'complete' && port) {
    const bytes = PRECACHE.reduce((sum, file) => sum + file.bytes, 0);
    const done = fill().then(
      () => port.postMessage({ bytes }),
      (error: unknown) => port.postMessage({ error: String(error) }),
    );
    event.waitUntil(done);
  }
});

/** Stores what is missing. Rejects if a file cannot be had as the build left it; what is stored by then stays. */
async function fill(): Promise<void> {
  const store = await caches.open(STORE);
  for (const file of PRECACHE) {
    if (!(await store.match(keyOf(file)))) await store.put(keyOf(file), await download(file));
  }
}

/** Drops what no file of this version needs. */
async function sweep(): Promise<void> {
  const store = await caches.open(STORE);
  const wanted = new Set(PRECACHE.map(keyOf));
  for (const request of await store.keys()) if (!wanted.has(request.url)) await store.delete(request);
}

async function answer(file: PrecachedFile): Promise<Response> {
  const stored = await caches
    .open(STORE)
    .then((store) => store.match(keyOf(file)))
    .catch(() => undefined);
  // Evicted or cleared: the network has it, unless it has a newer version by now, which is better than nothing.
  return stored ?? fetch(addressOf(file));
}

/** The file, checked against its hash. A stale copy in the browser's HTTP cache is passed over. */
async function download(file: PrecachedFile): Promise<Response> {
  for (const cache of ['default', 'reload'] as const) {
    const response = await fetch(addressOf(file), { cache });
    if (!response.ok) throw new Error(`${file.path}: expected status 200, found ${response.status}`);
    const content = await response.arrayBuffer();
    if ((await sha256(content)) !== file.sha256) continue;
    const headers = new Headers(response.headers);
    // The content is stored decoded.
    headers.delete('content-encoding');
    headers.set('content-length', String(content.byteLength));
    return new Response(content, { headers });
  }
  throw new Error(
    `${file.path}: expected the content with SHA-256 ${file.sha256}, found another; a newer version may be on its way`,
  );
}

async function sha256(content: ArrayBuffer): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function addressOf(file: PrecachedFile): string {
  return new URL(file.path, scope.registration.scope).href;
}

function keyOf(file: PrecachedFile): string {
  return `${addressOf(file)}?sha256=${file.sha256}`;
}
