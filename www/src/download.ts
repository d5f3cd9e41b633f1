/** Fetches one file of a bundle: streams it, goes on where it broke off, and gives it out only if it is the one that the
 * manifest promises. */

import { type ErrorCode, GuardError } from './errors.ts';
import { matches } from './hash.ts';
import type { FileEntry } from './model/manifest.ts';
import { abortable, follow, sleep, throwIfAborted } from './signals.ts';
import { type ModelStore, type Part, PIECE } from './store.ts';

export interface DownloadOptions {
  fetch: typeof fetch;
  /** Where pieces are kept as they come, if anywhere. */
  store?: ModelStore | undefined;
  signal?: AbortSignal | undefined;
  /** Bytes of the file that are there. */
  onBytes?: ((bytes: number) => void) | undefined;
  /** Milliseconds before each further attempt. */
  delays?: readonly number[] | undefined;
  /** Milliseconds without a byte, or without an answer, after which an attempt is given up. Default 30,000. */
  stall?: number | undefined;
}

const DELAYS = [250, 1000, 3000];
const STALL = 30_000;

/** Reads `entry` from `url`.
 *
 * @throws GuardError `network` if it does not come after some attempts, `integrity` if something else comes twice. */
export async function download(url: string, entry: FileEntry, options: DownloadOptions): Promise<Uint8Array> {
  const bytes = allocate(entry);
  let part: Part = (await options.store?.partial(entry, bytes)) ?? { received: 0, etag: null };
  for (let turn = 0; turn < 2; turn++) {
    if (part.received < entry.size || entry.size === 0) await fetchAll(url, entry, bytes, part, options);
    if (await matches(bytes, entry.sha256)) {
      await options.store?.commit(entry);
      return bytes;
    }
    // What came was damaged, or pieces of two versions were put together.
    await options.store?.discard(entry);
    part = { received: 0, etag: null };
  }
  const expected = `expected the file of sha256 ${entry.sha256}, as the manifest says, but twice another one came`;
  throw new GuardError('integrity', `${url}: ${expected}; upload the bundle again, manifest and all`);
}

/** Fills `bytes`, in as many attempts as it takes and is allowed. */
async function fetchAll(url: string, entry: FileEntry, bytes: Uint8Array, part: Part, options: DownloadOptions) {
  const delays = options.delays ?? DELAYS;
  let stuck = false;
  for (let attempt = 0; ; attempt++) {
    const last = attempt === delays.length;
    // A server that refuses ranges (or the preflight that they need elsewhere) must not be asked for one for ever.
    if (last && stuck) part.received = 0;
    const from = part.received;
    try {
      return await fetchSome(url, entry, bytes, part, options);
    } catch (error) {
      throwIfAborted(options.signal);
      const passing = error instanceof GuardError ? error.retryable : true;
      if (last || !passing) throw asNetworkError(url, error);
      stuck = from > 0 && part.received === from;
      // Spread, so that the pages that one server failed do not come back all at once.
      await sleep((delays[attempt] ?? 0) * (0.75 + Math.random() / 2), options.signal);
    }
  }
}

/** One request: from the first byte that is missing to the end. `part` says afterwards how far it came. */
async function fetchSome(url: string, entry: FileEntry, bytes: Uint8Array, part: Part, options: DownloadOptions) {
  const { fetch, store, signal, onBytes } = options;
  const headers: Record<string, string> = {};
  if (part.received > 0) {
    headers['range'] = `bytes=${part.received}-`;
    // Elsewhere the header would need a preflight that most servers refuse; the hash decides in any case.
    if (part.etag && sameOrigin(url)) headers['if-range'] = part.etag;
  }
  const watch = new StallWatch(url, options.stall, signal);
  try {
    const response = await watch.next((signal) => fetch(url, { signal, headers }));
    await take(response, url, entry, bytes, part, watch, { store, onBytes });
  } finally {
    watch.stop();
  }
}

/** Puts what a response brings in its place. */
async function take(
  response: Response,
  url: string,
  entry: FileEntry,
  bytes: Uint8Array,
  part: Part,
  watch: StallWatch,
  { store, onBytes }: Pick<DownloadOptions, 'store' | 'onBytes'>,
) {
  if (response.status === 416) {
    part.received = 0;
    throw new GuardError('network', `${url}: the server has no bytes at the place where the download broke off`);
  }
  if (!response.ok) throw statusError(url, response);
  if (response.status === 206 && !continues(response, part.received, entry.size)) {
    part.received = 0;
    await response.body?.cancel();
    throw new GuardError('network', `${url}: the server sent another range than the one asked for`);
  }
  if (response.status !== 206) {
    part.received = 0;
    part.etag = strongEtag(response);
    await store?.begin(entry, part.etag);
  }
  let kept = Math.floor(part.received / PIECE);
  for await (const chunk of chunks(response, watch)) {
    if (part.received + chunk.length > entry.size) {
      part.received = 0;
      throw new GuardError('integrity', `${url}: expected ${entry.size} bytes but more came`);
    }
    bytes.set(chunk, part.received);
    part.received += chunk.length;
    onBytes?.(part.received);
    while (
      store &&
      ((kept + 1) * PIECE <= part.received || (part.received === entry.size && kept * PIECE < entry.size))
    ) {
      await store.piece(entry, kept, bytes.subarray(kept * PIECE, Math.min((kept + 1) * PIECE, entry.size)));
      kept++;
    }
  }
  if (part.received < entry.size) {
    throw new GuardError(
      'network',
      `${url}: expected ${entry.size} bytes but the connection ended after ${part.received}`,
    );
  }
}

/** The pieces of a body; `watch` ends the wait for one that does not come. */
async function* chunks(response: Response, watch: StallWatch): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return void (yield new Uint8Array(await watch.next(() => response.arrayBuffer())));
  const read = () => watch.next(() => reader.read());
  try {
    for (let next = await read(); !next.done; next = await read()) yield next.value;
  } finally {
    // After an error in the middle, the rest is not wanted; after the end, this does nothing.
    reader.cancel().catch(() => {});
  }
}

/** Gives up what a server does not go on with. Time counts only while something is awaited of the server: a slow disk
 * on this side is not its fault. */
class StallWatch {
  #url: string;
  #after: number;
  #controller: AbortController;
  #letGo: () => void;

  constructor(url: string, after: number = STALL, signal?: AbortSignal) {
    this.#url = url;
    this.#after = after;
    const { controller, stop } = follow(signal);
    this.#controller = controller;
    this.#letGo = stop;
  }

  /** What `work` comes to, unless that takes too long. A `fetch` of the caller's own may not heed the signal. */
  async next<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { signal } = this.#controller;
    throwIfAborted(signal);
    const timer = setTimeout(() => this.#controller.abort(this.#stalled()), this.#after);
    try {
      return await abortable(work(signal), signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Lets go of the caller's signal. */
  stop(): void {
    this.#letGo();
  }

  #stalled(): GuardError {
    const message = `${this.#url}: expected bytes but none came for ${this.#after / 1000} s; try again`;
    return new GuardError('network', message);
  }
}

/** A small file whole, such as a manifest.
 *
 * @throws GuardError `network` if it does not come, `limit.code` if it has more than `limit.bytes`. */
export async function fetchSmall(
  url: string,
  limit: { bytes: number; code: ErrorCode },
  { fetch, signal, stall }: Pick<DownloadOptions, 'fetch' | 'signal' | 'stall'>,
): Promise<Uint8Array> {
  const watch = new StallWatch(url, stall, signal);
  try {
    const response = await watch.next((signal) => fetch(url, { signal }));
    if (!response.ok) throw statusError(url, response);
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of chunks(response, watch)) {
      length += piece.length;
      if (length > limit.bytes)
        throw new GuardError(limit.code, `${url}: expected at most ${limit.bytes} bytes but more came`);
      pieces.push(piece);
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  } finally {
    watch.stop();
  }
}

/** Whether a 206 goes on at `received`. Other origins may hide the header; then the hash tells. A compressed range is a
 * range of the compressed file, which is of no use. */
function continues(response: Response, received: number, size: number): boolean {
  if (response.headers.get('content-encoding')) return false;
  const range = response.headers.get('content-range');
  if (!range) return true;
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
  return Number(start) === received && (total === '*' || Number(total) === size);
}

/** An etag that stands for exact bytes; only those may be used with ranges. */
function strongEtag(response: Response): string | null {
  const etag = response.headers.get('etag');
  return etag?.startsWith('"') && !response.headers.get('content-encoding') ? etag : null;
}

function sameOrigin(url: string): boolean {
  return new URL(url).origin === globalThis.location?.origin;
}

function allocate(entry: FileEntry): Uint8Array {
  try {
    return new Uint8Array(entry.size);
  } catch (error) {
    const message = `${entry.name} needs ${entry.size} bytes of memory, which are not there; use a smaller model`;
    throw new GuardError('out_of_memory', message, { cause: error });
  }
}

export function statusError(url: string, response: Response): GuardError {
  const status = `${response.status} ${response.statusText}`.trim();
  // Of the client's mistakes only these two pass by themselves.
  const retryable = response.status >= 500 || response.status === 408 || response.status === 429;
  return new GuardError('network', `${url}: expected the file but the server answered ${status}`, { retryable });
}

export function asNetworkError(url: string, error: unknown): GuardError {
  if (error instanceof GuardError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new GuardError('network', `${url} could not be fetched: ${why}`, { cause: error });
}
