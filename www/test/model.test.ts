/** Where a model comes from: addresses, files, what is kept, and what a manifest must say. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import mini from 'rsafe-mini';
import { parseManifest } from '../src/model/manifest.ts';
import { addressModel, bundleAddress, type FileLike, filesModel, packageModel } from '../src/model/source.ts';
import { miniFolder } from './support/paths.ts';

const text = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const weights = text('the weights');
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function manifestOf(bytes: Uint8Array, changes: object = {}) {
  const files = [{ name: 'w.safetensors', size: bytes.length, sha256: sha256(bytes) }];
  return { format: 'rsafe-bundle', version: 1, name: 'm', files, ...changes };
}

/** A server with these files; `down` makes it unreachable. */
function server(files: Record<string, Uint8Array>) {
  const state = { asked: [] as string[], down: false };
  const fetch = (async (url: string) => {
    state.asked.push(url);
    if (state.down) throw new TypeError('offline');
    const found = files[url];
    return found ? new Response(found as Uint8Array<ArrayBuffer>) : new Response('', { status: 404 });
  }) as unknown as typeof globalThis.fetch;
  return { fetch, state };
}

test('each file of rsafe-mini has an address, for browsers as for Node, where the file lies', async () => {
  const forBrowsers = ((await import(pathToFileURL(join(miniFolder, 'index.js')).href)) as { default: typeof mini })
    .default;
  assert.deepEqual({ ...forBrowsers, files: {} }, { ...mini, files: {} });
  const listed = parseManifest(text(mini.manifest)).files;
  for (const { files } of [mini, forBrowsers]) {
    assert.deepEqual(Object.keys(files).sort(), listed.map(({ name }) => name).sort());
    for (const { name, size } of listed) assert.equal(statSync(new URL(files[name]!)).size, size);
  }
});

test('the address of a folder and that of its manifest mean the same bundle, and a query goes to every file', async () => {
  for (const address of [
    'https://x.org/m',
    'https://x.org/m/',
    'https://x.org/m/manifest.json',
    'https://x.org/m/#top',
  ]) {
    const { folder, manifest } = bundleAddress(address);
    assert.deepEqual([folder.href, manifest.href], ['https://x.org/m/', 'https://x.org/m/manifest.json'], address);
  }
  const { fetch, state } = server({
    'https://x.org/q/manifest.json?key=1': text(manifestOf(weights)),
    'https://x.org/q/w.safetensors?key=1': weights,
  });
  const model = await addressModel('https://x.org/q/?key=1', { fetch, cache: false, offline: false });
  assert.deepEqual(await model.read('w.safetensors', {}), weights);
  assert.equal(state.asked.length, 2);
});

test('a model that was loaded once is there without a network, and `offline` does not even ask', async () => {
  const address = 'https://x.org/kept/';
  const { fetch, state } = server({
    [`${address}manifest.json`]: text(manifestOf(weights)),
    [`${address}w.safetensors`]: weights,
  });
  const first = await addressModel(address, { fetch, cache: true, offline: false });
  await first.read('w.safetensors', {});
  assert.equal(first.source, 'network');
  state.down = true;
  const away = await addressModel(address, { fetch, cache: true, offline: false });
  assert.deepEqual(await away.read('w.safetensors', {}), weights);
  assert.equal(away.source, 'cache');
  state.asked = [];
  const offline = await addressModel(address, { fetch, cache: true, offline: true });
  assert.deepEqual(await offline.read('w.safetensors', {}), weights);
  assert.deepEqual(state.asked, []);
});

test('`offline` without what is needed is a network error that says what to do', async () => {
  const { fetch, state } = server({});
  const options = { fetch, cache: true, offline: true };
  const expected = { code: 'network', retryable: false, message: /offline/ };
  await assert.rejects(addressModel('https://x.org/never/', options), expected);
  const manifest = JSON.stringify(manifestOf(text('other weights')));
  const files = { 'w.safetensors': 'https://x.org/w.safetensors' };
  const packaged = await packageModel({ name: 'other', manifest, files }, options);
  await assert.rejects(packaged.read('w.safetensors', {}), expected);
  assert.deepEqual(state.asked, []);
});

test('a bundle that changed on its server replaces the one that was kept', async () => {
  const address = 'https://x.org/changes/';
  const files = { [`${address}manifest.json`]: text(manifestOf(weights)), [`${address}w.safetensors`]: weights };
  const { fetch } = server(files);
  const options = { fetch, cache: true, offline: false };
  await (await addressModel(address, options)).read('w.safetensors', {});
  const newer = text('better weights');
  files[`${address}manifest.json`] = text(manifestOf(newer));
  files[`${address}w.safetensors`] = newer;
  const model = await addressModel(address, options);
  assert.deepEqual(await model.read('w.safetensors', {}), newer);
  assert.equal(model.source, 'network');
});

test('without `cache`, nothing is kept', async () => {
  const address = 'https://x.org/unkept/';
  const { fetch, state } = server({
    [`${address}manifest.json`]: text(manifestOf(weights)),
    [`${address}w.safetensors`]: weights,
  });
  const options = { fetch, cache: false, offline: false };
  await (await addressModel(address, options)).read('w.safetensors', {});
  state.down = true;
  await assert.rejects(addressModel(address, options), { code: 'network' });
});

test('a missing manifest and a page instead of one are told apart', async () => {
  const { fetch } = server({ 'https://x.org/page/manifest.json': text('<!doctype html><title>Not found</title>') });
  const options = { fetch, cache: false, offline: false };
  await assert.rejects(addressModel('https://x.org/none/', options), { code: 'network', message: /404/ });
  await assert.rejects(addressModel('https://x.org/page/', options), { code: 'bad_model', message: /doctype/ });
});

test('files of the caller are found by name, and a missing one is named', async () => {
  const file = (name: string, bytes: Uint8Array): FileLike => ({
    name,
    size: bytes.length,
    arrayBuffer: async () => bytes,
  });
  const model = await filesModel([file('manifest.json', text(manifestOf(weights))), file('w.safetensors', weights)]);
  assert.deepEqual(await model.read('w.safetensors', {}), weights);
  await assert.rejects(filesModel([file('w.safetensors', weights)]), { code: 'bad_model', message: /manifest\.json/ });
  const without = await filesModel([file('manifest.json', text(manifestOf(weights)))]);
  await assert.rejects(without.read('w.safetensors', {}), { code: 'bad_model', message: /w\.safetensors/ });
});

test('a manifest that makes no sense is refused with the field that does not', () => {
  const file = { name: 'w.safetensors', size: 1, sha256: 'a'.repeat(64) };
  const broken: [RegExp, object][] = [
    [/format/, { format: 'zip' }],
    [/version/, { version: 2 }],
    [/name/, { name: '' }],
    [/files/, { files: [] }],
    [/file name/, { files: [{ ...file, name: '../w' }] }],
    [/file name/, { files: [{ ...file, name: 'https://elsewhere.org/w' }] }],
    [/size/, { files: [{ ...file, size: -1 }] }],
    [/sha256/, { files: [{ ...file, sha256: 'A'.repeat(64) }] }],
  ];
  for (const [message, changes] of broken) {
    assert.throws(() => parseManifest(text(manifestOf(weights, changes))), { code: 'bad_model', message });
  }
  assert.equal(parseManifest(text(manifestOf(weights))).total, weights.length);
});
