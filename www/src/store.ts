/** What is kept of a model between visits, and when it counts: a file's pieces first, then the record that commits it. A
 * file without a record, or whose pieces are not what the record promises, is a miss. */

import { matches } from './hash.ts';
import { type FileEntry, parseManifest } from './model/manifest.ts';
import { OpfsStorage, CacheStorageBody, openStorage, type Storage } from './storage.ts';
import type { CacheEntry } from './types.ts';

/** Bytes of a piece. A download that breaks loses at most one; storages that cannot append can resume all the same. */
export const PIECE = 4 << 20;

// Names in a manifest have no `~`, so these cannot meet a file's.
const BUNDLE = '~bundle';
const pieceName = (file: string, index: number) => `${file}~${index}`;
const recordName = (file: string) => `${file}~done`;
const partName = (file: string) => `${file}~part`;

/** What is known of a file that is not all there. */
export interface Part {
  /** Bytes from the file's start that are there. */
  received: number;
  /** The server's name for this version of the file, if it gave one. */
  etag: string | null;
}

/** One model's place in a storage. Once a write fails, nothing more is written: the model loads all the same. */
export class ModelStore {
  #storage: Storage;
  #folder: string;
  #model: string;
  #warn: (message: string) => void;
  #writable = true;

  /** `model` is the bundle's address, or the name of the bundled one. */
  constructor(storage: Storage, model: string, warn: (message: string) => void = warnOnce) {
    this.#storage = storage;
    this.#model = model;
    this.#folder = folderOf(model);
    this.#warn = warn;
  }

  /** The name of the lock that a file's reader holds, so that two guards do not fetch the same file at once. */
  lockName(file: string): string {
    return `rsafe/${this.#folder}/${file}`;
  }

  /** The manifest that was kept last. */
  async manifest(): Promise<Uint8Array | undefined> {
    const record = await this.#json(BUNDLE);
    if (record?.['model'] !== this.#model || typeof record['manifest'] !== 'string') return undefined;
    return new TextEncoder().encode(record['manifest']);
  }

  async keepManifest(bytes: Uint8Array): Promise<void> {
    const manifest = new TextDecoder().decode(bytes);
    const kept = await this.#json(BUNDLE);
    if (kept?.['model'] === this.#model && kept['manifest'] === manifest) return;
    await this.#write(BUNDLE, json({ model: this.#model, manifest }));
  }

  /** A committed file, verified; anything else is removed and a miss. */
  async load(entry: FileEntry): Promise<Uint8Array | undefined> {
    const record = await this.#json(recordName(entry.name));
    if (!record) return undefined;
    if (record['sha256'] === entry.sha256 && record['size'] === entry.size) {
      const bytes = new Uint8Array(entry.size);
      const received = await this.#pieces(entry, bytes);
      if (received === entry.size && (await matches(bytes, entry.sha256))) return bytes;
    }
    await this.discard(entry);
    return undefined;
  }

  /** Reads what an earlier download left into `into`. */
  async partial(entry: FileEntry, into: Uint8Array): Promise<Part> {
    const part = await this.#json(partName(entry.name));
    if (part?.['sha256'] !== entry.sha256) {
      await this.discard(entry);
      return { received: 0, etag: null };
    }
    const etag = part['etag'];
    return { received: await this.#pieces(entry, into), etag: typeof etag === 'string' ? etag : null };
  }

  /** A download starts from the file's first byte. */
  async begin(entry: FileEntry, etag: string | null): Promise<void> {
    await this.discard(entry);
    await this.#write(partName(entry.name), json({ sha256: entry.sha256, etag }));
  }

  /** Keeps a whole piece, or the file's last. */
  async piece(entry: FileEntry, index: number, bytes: Uint8Array): Promise<void> {
    await this.#write(pieceName(entry.name, index), bytes);
  }

  /** All pieces are there and verified: from now on the file counts. */
  async commit(entry: FileEntry): Promise<void> {
    await this.#write(recordName(entry.name), json({ sha256: entry.sha256, size: entry.size }));
    if (this.#writable) await this.#storage.remove(this.#folder, partName(entry.name)).catch(() => {});
  }

  /** Forgets a file. The record goes first, so that a half-removed file is a miss too. */
  async discard(entry: FileEntry): Promise<void> {
    try {
      const names = [...(await this.#storage.list(this.#folder)).keys()];
      const own = names.filter((name) => name.slice(0, name.lastIndexOf('~')) === entry.name);
      own.sort((a, b) => Number(b === recordName(entry.name)) - Number(a === recordName(entry.name)));
      for (const name of own) await this.#storage.remove(this.#folder, name);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** Reads the pieces that are there, up to the first that is missing or torn; gives the bytes read. */
  async #pieces(entry: FileEntry, into: Uint8Array): Promise<number> {
    let received = 0;
    for (let index = 0; received < entry.size; index++) {
      const expected = Math.min(PIECE, entry.size - received);
      const bytes = await this.#read(pieceName(entry.name, index));
      if (bytes?.length !== expected) break;
      into.set(bytes, received);
      received += expected;
    }
    return received;
  }

  async #read(name: string): Promise<Uint8Array | undefined> {
    try {
      return await this.#storage.read(this.#folder, name);
    } catch {
      return undefined;
    }
  }

  async #json(name: string): Promise<Record<string, unknown> | undefined> {
    const bytes = await this.#read(name);
    return bytes && parseJson(bytes);
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    if (!this.#writable) return;
    try {
      await this.#storage.write(this.#folder, name, bytes);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): void {
    if (this.#writable) this.#warn(`rsafe: the model is not kept on this machine (${String(error)}); it works without`);
    this.#writable = false;
  }
}

/** What is kept on this machine, complete or not. */
export async function cacheStatus(storages?: Storage[]): Promise<CacheEntry[]> {
  const entries: CacheEntry[] = [];
  for (const storage of storages ?? (await allStorages())) {
    for (const folder of await storage.folders()) {
      const record = await storage.read(folder, BUNDLE).catch(() => undefined);
      const { model, manifest } = (record && parseJson(record)) ?? {};
      const sizes = await storage.list(folder);
      let bytes = 0;
      for (const [name, size] of sizes) if (/~\d+$/.test(name)) bytes += size;
      const complete = typeof manifest === 'string' && (await isComplete(storage, folder, manifest));
      entries.push({ model: typeof model === 'string' ? model : folder, bytes, complete });
    }
  }
  return entries;
}

/** Removes one model, by its address or name, or all of them. */
export async function clearCache(model?: string, storages?: Storage[]): Promise<void> {
  for (const storage of storages ?? (await allStorages())) {
    const folders = model === undefined ? await storage.folders() : [folderOf(model)];
    for (const folder of folders) await storage.removeFolder(folder);
  }
}

async function isComplete(storage: Storage, folder: string, manifest: string): Promise<boolean> {
  try {
    for (const file of parseManifest(new TextEncoder().encode(manifest)).files) {
      const record = await storage.read(folder, recordName(file.name));
      if (!record || parseJson(record)?.['sha256'] !== file.sha256) return false;
    }
    return true;
  } catch {
    return false;
  }
}

/** All storages that may hold something: a browser that learnt the better one later still has the other. */
async function allStorages(): Promise<Storage[]> {
  const best = await openStorage();
  const others = [await OpfsStorage.open(), await CacheStorageBody.open()];
  return [best, ...others.filter((other) => other !== undefined && other.kind !== best.kind)] as Storage[];
}

/** A folder name that every storage takes: a 64-bit hash of the address. Two that meet overwrite each other, no more:
 * the record has the whole address, and files are verified. */
function folderOf(model: string): string {
  let [low, high] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < model.length; i++) {
    const unit = model.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x9e3779b1);
    high = Math.imul(high ^ unit, 0x5f356495);
  }
  low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ high;
  high = Math.imul(high ^ (high >>> 15), 0xc2b2ae35) ^ low;
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}

function json(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function parseJson(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

let warned = false;

function warnOnce(message: string): void {
  if (!warned) console.warn(message);
  warned = true;
}
