/** Where bytes are kept between visits: one small interface, and its bodies over the origin private file system, the
 * Cache API and memory. What is kept, and when it counts, is the store's. */

/** Folders of named pieces. Each method may reject; `write` with a `QuotaExceededError` where there is no room. */
export interface Storage {
  readonly kind: 'opfs' | 'cache' | 'memory';
  read(folder: string, name: string): Promise<Uint8Array | undefined>;
  write(folder: string, name: string, bytes: Uint8Array): Promise<void>;
  remove(folder: string, name: string): Promise<void>;
  removeFolder(folder: string): Promise<void>;
  folders(): Promise<string[]>;
  /** Names and sizes in bytes. */
  list(folder: string): Promise<Map<string, number>>;
}

const ROOT = 'rsafe';

/** The best storage of this place. Insecure pages have neither of the lasting ones, private windows often have not. */
export async function openStorage(): Promise<Storage> {
  return (await OpfsStorage.open()) ?? (await CacheStorageBody.open()) ?? memory;
}

interface SyncHandle {
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

type FileHandle = FileSystemFileHandle & { createSyncAccessHandle?: () => Promise<SyncHandle> };

export class OpfsStorage implements Storage {
  readonly kind = 'opfs';
  #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  static async open(): Promise<OpfsStorage | undefined> {
    try {
      const { prototype } = FileSystemFileHandle;
      if (!('createWritable' in prototype) && !('createSyncAccessHandle' in prototype)) return undefined;
      const root = await navigator.storage.getDirectory();
      return new OpfsStorage(await root.getDirectoryHandle(ROOT, { create: true }));
    } catch {
      return undefined;
    }
  }

  async read(folder: string, name: string): Promise<Uint8Array | undefined> {
    return found(async () => {
      const directory = await this.#root.getDirectoryHandle(folder);
      const file = await (await directory.getFileHandle(name)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    });
  }

  async write(folder: string, name: string, bytes: Uint8Array): Promise<void> {
    const directory = await this.#root.getDirectoryHandle(folder, { create: true });
    const handle: FileHandle = await directory.getFileHandle(name, { create: true });
    if ('createWritable' in handle) {
      const writable = await handle.createWritable();
      await writable.write(bytes as Uint8Array<ArrayBuffer>);
      return writable.close();
    }
    const access = await (handle as Required<FileHandle>).createSyncAccessHandle();
    try {
      access.truncate(0);
      if (access.write(bytes, { at: 0 }) < bytes.length) throw new DOMException('no room', 'QuotaExceededError');
      access.flush();
    } finally {
      access.close();
    }
  }

  async remove(folder: string, name: string): Promise<void> {
    await found(async () => (await this.#root.getDirectoryHandle(folder)).removeEntry(name));
  }

  async removeFolder(folder: string): Promise<void> {
    await found(() => this.#root.removeEntry(folder, { recursive: true }));
  }

  async folders(): Promise<string[]> {
    const names: string[] = [];
    for await (const [name, handle] of this.#root.entries()) if (handle.kind === 'directory') names.push(name);
    return names;
  }

  async list(folder: string): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    await found(async () => {
      for await (const [name, handle] of (await this.#root.getDirectoryHandle(folder)).entries()) {
        if (handle.kind === 'file') sizes.set(name, (await (handle as FileSystemFileHandle).getFile()).size);
      }
    });
    return sizes;
  }
}

/** The outcome, or `undefined` where the file or folder is not there. */
async function found<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if ((error as { name?: string }).name === 'NotFoundError') return undefined;
    throw error;
  }
}

/** Over the Cache API. Its keys are requests, so a piece is kept under an address that nobody serves. */
export class CacheStorageBody implements Storage {
  readonly kind = 'cache';
  #cache: Cache;
  #origin: string;

  constructor(cache: Cache, origin: string) {
    this.#cache = cache;
    this.#origin = origin;
  }

  static async open(): Promise<CacheStorageBody | undefined> {
    try {
      return new CacheStorageBody(await caches.open(ROOT), globalThis.location.origin);
    } catch {
      return undefined;
    }
  }

  async read(folder: string, name: string): Promise<Uint8Array | undefined> {
    const response = await this.#cache.match(this.#key(folder, name));
    return response && new Uint8Array(await response.arrayBuffer());
  }

  async write(folder: string, name: string, bytes: Uint8Array): Promise<void> {
    const headers = { 'content-length': String(bytes.length), 'content-type': 'application/octet-stream' };
    await this.#cache.put(this.#key(folder, name), new Response(bytes as Uint8Array<ArrayBuffer>, { headers }));
  }

  async remove(folder: string, name: string): Promise<void> {
    await this.#cache.delete(this.#key(folder, name));
  }

  async removeFolder(folder: string): Promise<void> {
    for (const name of (await this.list(folder)).keys()) await this.remove(folder, name);
  }

  async folders(): Promise<string[]> {
    return [...new Set((await this.#entries()).map(([folder]) => folder))];
  }

  async list(folder: string): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const [where, name, request] of await this.#entries()) {
      if (where !== folder) continue;
      const response = await this.#cache.match(request);
      sizes.set(name, Number(response?.headers.get('content-length') ?? 0));
    }
    return sizes;
  }

  #key(folder: string, name: string): string {
    return `${this.#origin}/.${ROOT}/${folder}/${encodeURIComponent(name)}`;
  }

  async #entries(): Promise<[string, string, Request][]> {
    return (await this.#cache.keys()).map((request) => {
      const [name = '', folder = ''] = new URL(request.url).pathname.split('/').reverse();
      return [folder, decodeURIComponent(name), request];
    });
  }
}

/** What memory keeps at most: the bundled model fits, a large bundle, which would be there twice, does not. */
const MEMORY_LIMIT = 64 << 20;

export class MemoryStorage implements Storage {
  readonly kind = 'memory';
  #folders = new Map<string, Map<string, Uint8Array>>();
  #limit: number;

  constructor(limit = MEMORY_LIMIT) {
    this.#limit = limit;
  }

  async read(folder: string, name: string): Promise<Uint8Array | undefined> {
    return this.#folders.get(folder)?.get(name)?.slice();
  }

  async write(folder: string, name: string, bytes: Uint8Array): Promise<void> {
    const files = this.#folders.get(folder) ?? new Map<string, Uint8Array>();
    const others = this.#used() - (files.get(name)?.length ?? 0);
    if (others + bytes.length > this.#limit) {
      throw new DOMException(`more than ${this.#limit} bytes are not kept in memory`, 'QuotaExceededError');
    }
    files.set(name, bytes.slice());
    this.#folders.set(folder, files);
  }

  async remove(folder: string, name: string): Promise<void> {
    this.#folders.get(folder)?.delete(name);
  }

  async removeFolder(folder: string): Promise<void> {
    this.#folders.delete(folder);
  }

  async folders(): Promise<string[]> {
    return [...this.#folders.keys()];
  }

  async list(folder: string): Promise<Map<string, number>> {
    const files = this.#folders.get(folder) ?? new Map<string, Uint8Array>();
    return new Map([...files].map(([name, bytes]) => [name, bytes.length]));
  }

  #used(): number {
    let sum = 0;
    for (const files of this.#folders.values()) for (const bytes of files.values()) sum += bytes.length;
    return sum;
  }
}

/** One for the realm, so that a second guard finds what the first one fetched. */
const memory = new MemoryStorage();
