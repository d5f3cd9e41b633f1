/** When a kept file counts, and what happens to one that does not. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { FileEntry } from '../src/model/manifest.ts';
import { MemoryStorage } from '../src/storage.ts';
import { cacheStatus, clearCache, ModelStore, PIECE } from '../src/store.ts';

const MODEL = 'https://example.org/bundle/';

function file(size: number): { bytes: Uint8Array; entry: FileEntry } {
  const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31) >> 3);
  return { bytes, entry: { name: 'w.safetensors', size, sha256: createHash('sha256').update(bytes).digest('hex') } };
}

/** A storage that counts what is written, and whose pieces can be damaged. */
class Probe extends MemoryStorage {
  writes: string[] = [];
  override async write(folder: string, name: string, bytes: Uint8Array): Promise<void> {
    await super.write(folder, name, bytes);
    this.writes.push(name);
  }
  async damage(name: string, change: (bytes: Uint8Array) => Uint8Array | undefined): Promise<void> {
    for (const folder of await this.folders()) {
      const bytes = await this.read(folder, name);
      assert.ok(bytes, `${name} is kept`);
      const changed = change(bytes);
      await this.remove(folder, name);
      if (changed) await super.write(folder, name, changed);
    }
  }
}

async function keep(store: ModelStore, { bytes, entry }: ReturnType<typeof file>): Promise<void> {
  await store.begin(entry, '"v1"');
  for (let i = 0; i * PIECE < bytes.length; i++)
    await store.piece(entry, i, bytes.subarray(i * PIECE, (i + 1) * PIECE));
  await store.commit(entry);
}

const manifest = (entry: FileEntry) =>
  new TextEncoder().encode(JSON.stringify({ format: 'rsafe-bundle', version: 1, name: 'm', files: [entry] }));

test('a committed file comes back as it was', async () => {
  const it = file(PIECE + 17);
  const store = new ModelStore(new Probe(), MODEL);
  await keep(store, it);
  assert.deepEqual(await store.load(it.entry), it.bytes);
});

test('the record that commits a file is written after all of its pieces', async () => {
  const it = file(PIECE * 2);
  const storage = new Probe();
  await keep(new ModelStore(storage, MODEL), it);
  assert.deepEqual(storage.writes, ['w.safetensors~part', 'w.safetensors~0', 'w.safetensors~1', 'w.safetensors~done']);
});

test('pieces without a record are a miss, and where the download goes on', async () => {
  const it = file(PIECE * 2 + 5);
  const storage = new Probe();
  const store = new ModelStore(storage, MODEL);
  await store.begin(it.entry, '"v1"');
  await store.piece(it.entry, 0, it.bytes.subarray(0, PIECE));
  assert.equal(await store.load(it.entry), undefined);
  const into = new Uint8Array(it.entry.size);
  assert.deepEqual(await new ModelStore(storage, MODEL).partial(it.entry, into), { received: PIECE, etag: '"v1"' });
  assert.deepEqual(into.subarray(0, PIECE), it.bytes.subarray(0, PIECE));
});

test('a piece that is flipped, short or gone makes the file a miss and removes all of it', async () => {
  const it = file(PIECE + 100);
  const flip = (bytes: Uint8Array) => ((bytes[50]! ^= 1), bytes);
  for (const change of [flip, (bytes: Uint8Array) => bytes.subarray(1), () => undefined]) {
    const storage = new Probe();
    const store = new ModelStore(storage, MODEL);
    await keep(store, it);
    await storage.damage('w.safetensors~1', change);
    assert.equal(await store.load(it.entry), undefined);
    for (const folder of await storage.folders()) assert.equal((await storage.list(folder)).size, 0);
  }
});

test('a file of another version of the bundle is a miss', async () => {
  const it = file(1000);
  const store = new ModelStore(new Probe(), MODEL);
  await keep(store, it);
  assert.equal(await store.load({ ...it.entry, sha256: '0'.repeat(64) }), undefined);
});

test('a full storage warns once, and nothing more is written', async () => {
  const it = file(PIECE * 2);
  const warnings: string[] = [];
  const storage = new MemoryStorage(PIECE);
  const store = new ModelStore(storage, MODEL, (message) => warnings.push(message));
  await keep(store, it);
  assert.equal(warnings.length, 1);
  assert.equal(await store.load(it.entry), undefined);
});

test('the status tells complete from incomplete, and clearing one model leaves the other', async () => {
  const storage = new Probe();
  const it = file(10);
  const whole = new ModelStore(storage, MODEL);
  await whole.keepManifest(manifest(it.entry));
  await keep(whole, it);
  await new ModelStore(storage, 'https://example.org/other/').keepManifest(manifest(it.entry));
  const status = await cacheStatus([storage]);
  status.sort((a, b) => a.model.localeCompare(b.model));
  assert.deepEqual(status, [
    { model: MODEL, bytes: 10, complete: true },
    { model: 'https://example.org/other/', bytes: 0, complete: false },
  ]);
  await clearCache(MODEL, [storage]);
  assert.deepEqual(
    (await cacheStatus([storage])).map((entry) => entry.model),
    ['https://example.org/other/'],
  );
  assert.equal(await whole.load(it.entry), undefined);
  await clearCache(undefined, [storage]);
  assert.deepEqual(await cacheStatus([storage]), []);
});

test('the manifest that was kept belongs to its address', async () => {
  const storage = new Probe();
  const bytes = manifest(file(1).entry);
  const store = new ModelStore(storage, MODEL);
  await store.keepManifest(bytes);
  assert.deepEqual(await store.manifest(), bytes);
  assert.equal(await new ModelStore(storage, `${MODEL}x/`).manifest(), undefined);
});
