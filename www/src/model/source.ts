/** Where a model's files come from, behind one interface: a package, an address, or the caller's files. */

import { asNetworkError, download, fetchSmall } from '../download.ts';
import { GuardError, toGuardError } from '../errors.ts';
import { onAbort, throwIfAborted } from '../signals.ts';
import { ModelStore } from '../store.ts';
import { openStorage } from '../storage.ts';
import type { GuardInfo, ModelPackage } from '../types.ts';
import { type FileEntry, fileEntry, type Manifest, MANIFEST, MAX_MANIFEST, parseManifest } from './manifest.ts';

/** A model about to be loaded. */
export interface Model {
  readonly manifest: Manifest;
  /** Where the files came from, as far as they were read. */
  readonly source: GuardInfo['source'];
  /** A file of the bundle, by the manifest's name. */
  read(name: string, hooks: ReadHooks): Promise<Uint8Array>;
}

export interface ReadHooks {
  signal?: AbortSignal | undefined;
  /** Bytes of the file that are there, and whether they come from the cache. */
  onBytes?: ((bytes: number, cached: boolean) => void) | undefined;
}

/** A file that the caller has: a `File`, or something as simple. */
export interface FileLike {
  readonly name: string;
  readonly size: number;
  arrayBuffer(): Promise<ArrayBuffer | Uint8Array>;
}

/** A file that was read, which crosses every border. */
export interface FileContent {
  readonly name: string;
  readonly size: number;
  readonly content: ArrayBuffer | Uint8Array;
}

/** Which model, in a form that crosses a worker's border. */
export type ModelSpec =
  | ({ kind: 'package' } & ModelPackage)
  | { kind: 'address' /** Absolute: the folder or its manifest. */; address: string }
  | { kind: 'files'; files: readonly (FileLike | FileContent)[] };

export interface FetchOptions {
  fetch: typeof fetch;
  cache: boolean;
  offline: boolean;
  signal?: AbortSignal | undefined;
}

/** The package with the model that a guard takes where none is named. */
export const MINI = 'rsafe-mini';

/** @throws GuardError `bad_model` if the file cannot be read. */
export async function contentOf(file: FileLike | FileContent): Promise<Uint8Array> {
  try {
    const bytes = 'content' in file ? file.content : await file.arrayBuffer();
    return bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  } catch (error) {
    const message = `\`${file.name}\` could not be read (${String(error)}); choose the files again`;
    throw new GuardError('bad_model', message, { cause: error });
  }
}

export function filesModel(files: readonly (FileLike | FileContent)[]): Promise<Model> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const read = async (name: string) => {
    const file = byName.get(name);
    if (!file) {
      const names = [...byName.keys()].join(', ') || 'none';
      throw new GuardError('bad_model', `expected a file \`${name}\` of the bundle but got ${names}`);
    }
    return contentOf(file);
  };
  return read(MANIFEST).then((bytes) => ({
    manifest: parseManifest(bytes),
    source: 'files',
    read: async (name, { onBytes }) => {
      const bytes = await read(name);
      onBytes?.(bytes.length, false);
      return bytes;
    },
  }));
}

/** A model whose manifest is part of the code, and whose files lie where a bundler put them. */
export async function packageModel(given: ModelPackage, options: FetchOptions): Promise<Model> {
  const manifest = parseManifest(new TextEncoder().encode(given.manifest));
  const keep = options.cache || options.offline;
  const store = keep ? new ModelStore(await openStorage(), given.name) : undefined;
  if (!options.offline) await store?.keepManifest(manifest.bytes);
  return new FetchedModel(manifest, (name) => addressIn(given, name), store, options);
}

/** @throws GuardError `bad_model` */
export function addressIn({ name, files }: ModelPackage, file: string): string {
  const address = Object.hasOwn(files, file) ? files[file] : undefined;
  if (address !== undefined) return address;
  throw new GuardError('bad_model', `the model ${name} has no address of its file ${file}`);
}

/** A bundle at an address. Without the network, and if all that it needs is kept here, it is the one that was kept. */
export async function addressModel(address: string, options: FetchOptions): Promise<Model> {
  const { folder, manifest: url } = bundleAddress(address);
  const store = options.cache || options.offline ? new ModelStore(await openStorage(), folder.href) : undefined;
  const locate = (name: string) => {
    const file = new URL(name, folder);
    file.search = folder.search;
    return file.href;
  };
  const manifest = parseManifest(await readManifest(url.href, store, options));
  return new FetchedModel(manifest, locate, store, options);
}

/** The folder of a bundle and its manifest, from the address of either. A query, such as a signature, goes to all. */
export function bundleAddress(address: string): { folder: URL; manifest: URL } {
  const folder = new URL(address);
  folder.hash = '';
  if (!folder.pathname.endsWith('.json')) {
    if (!folder.pathname.endsWith('/')) folder.pathname += '/';
    const manifest = new URL(MANIFEST, folder);
    manifest.search = folder.search;
    return { folder, manifest };
  }
  const manifest = new URL(folder);
  folder.pathname = folder.pathname.slice(0, folder.pathname.lastIndexOf('/') + 1);
  return { folder, manifest };
}

/** The name under which a model is kept, from its address or its name. */
export function keptName(model: string | URL, base: string | undefined): string {
  return model === MINI ? MINI : bundleAddress(new URL(model, base).href).folder.href;
}

async function readManifest(url: string, store: ModelStore | undefined, options: FetchOptions): Promise<Uint8Array> {
  const { fetch, offline, signal } = options;
  if (offline) {
    const kept = await store?.manifest();
    if (kept) return kept;
    throw notKept(url);
  }
  try {
    const bytes = await fetchSmall(url, { bytes: MAX_MANIFEST, code: 'bad_model' }, { fetch, signal });
    parseManifest(bytes);
    await store?.keepManifest(bytes);
    return bytes;
  } catch (error) {
    throwIfAborted(signal);
    const failure = asNetworkError(url, error);
    const kept = failure.code === 'network' && failure.retryable ? await store?.manifest() : undefined;
    if (kept) return kept;
    throw failure;
  }
}

class FetchedModel implements Model {
  readonly manifest: Manifest;
  #locate: (name: string) => string;
  #store: ModelStore | undefined;
  #options: FetchOptions;
  #fetched = false;
  #cached = false;

  constructor(
    manifest: Manifest,
    locate: (name: string) => string,
    store: ModelStore | undefined,
    options: FetchOptions,
  ) {
    this.manifest = manifest;
    this.#locate = locate;
    this.#store = store;
    this.#options = options;
  }

  get source(): GuardInfo['source'] {
    return this.#cached && !this.#fetched ? 'cache' : 'network';
  }

  read(name: string, hooks: ReadHooks): Promise<Uint8Array> {
    const entry = fileEntry(this.manifest, name);
    if (!this.#store) return this.#get(entry, hooks);
    return locked(this.#store.lockName(name), hooks.signal, () => this.#get(entry, hooks));
  }

  async #get(entry: FileEntry, { signal, onBytes }: ReadHooks): Promise<Uint8Array> {
    throwIfAborted(signal);
    const kept = await this.#store?.load(entry);
    if (kept) {
      this.#cached = true;
      onBytes?.(kept.length, true);
      return kept;
    }
    const url = this.#locate(entry.name);
    if (this.#options.offline) throw notKept(url);
    this.#fetched = true;
    return download(url, entry, {
      fetch: this.#options.fetch,
      store: this.#store,
      signal,
      onBytes: (bytes) => onBytes?.(bytes, false),
    });
  }
}

/** Runs `task` while no other page or worker of this origin runs one of the same name, where that can be had. */
async function locked<T>(name: string, signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return task();
  const waiting = new AbortController();
  const stop = onAbort(signal, () => waiting.abort());
  try {
    return await locks.request(name, { signal: waiting.signal }, task);
  } catch (error) {
    throwIfAborted(signal);
    throw toGuardError(error);
  } finally {
    stop();
  }
}

function notKept(url: string): GuardError {
  const message = `${url} is not kept on this machine, and \`offline\` forbids to fetch it; load it once without`;
  return new GuardError('network', message, { retryable: false });
}
