/** What a download promises over a network that breaks, lies or is absent. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { download, fetchSmall } from '../src/download.ts';
import type { FileEntry } from '../src/model/manifest.ts';
import { MemoryStorage } from '../src/storage.ts';
import { ModelStore, PIECE } from '../src/store.ts';

const URL_ = 'https://example.org/bundle/w.safetensors';
const bytes = Uint8Array.from({ length: PIECE * 2 + 1000 }, (_, i) => (i * 7) >> 4);
const entry: FileEntry = {
  name: 'w.safetensors',
  size: bytes.length,
  sha256: createHash('sha256').update(bytes).digest('hex'),
};
const delays = [0, 0, 0];

type Serve = (range: number, attempt: number) => Response | Promise<Response>;

/** A server, and the first byte that each request asked for. */
function network(serve: Serve) {
  const asked: number[] = [];
  const fetch = (async (_url: string, init?: RequestInit) => {
    const range = Number(/^bytes=(\d+)-$/.exec(new Headers(init?.headers).get('range') ?? '')?.[1] ?? 0);
    asked.push(range);
    return serve(range, asked.length);
  }) as typeof globalThis.fetch;
  return { asked, fetch };
}

const whole = () => new Response(bytes, { headers: { etag: '"v1"' } });
const rest = (from: number, headers: Record<string, string> = {}) =>
  new Response(bytes.subarray(from), {
    status: 206,
    headers: { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`, ...headers },
  });

/** A body that ends with an error after `until` bytes. */
function broken(from: number, until: number, status = 200): Response {
  const body = new ReadableStream({
    start(controller) {
      for (let at = from; at < until; at += 65536) controller.enqueue(bytes.slice(at, Math.min(at + 65536, until)));
    },
    pull: (controller) => controller.error(new TypeError('connection reset')),
  });
  const headers = status === 206 ? { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
  return new Response(body, { status, headers });
}

test('a file comes whole, and its bytes are told as they come', async () => {
  const { fetch } = network(whole);
  const told: number[] = [];
  assert.deepEqual(await download(URL_, entry, { fetch, delays, onBytes: (n) => told.push(n) }), bytes);
  assert.equal(told.at(-1), bytes.length);
});

test('a connection that breaks goes on at the byte where it broke', async () => {
  const { fetch, asked } = network((range, attempt) => (attempt === 1 ? broken(0, 100_000) : rest(range)));
  assert.deepEqual(await download(URL_, entry, { fetch, delays }), bytes);
  assert.deepEqual(asked, [0, 100_000]);
});

test('what an earlier visit left is not fetched again', async () => {
  const storage = new MemoryStorage();
  const first = network(() => broken(0, PIECE + 10));
  const store = () => new ModelStore(storage, 'm', () => assert.fail('warned'));
  await assert.rejects(download(URL_, entry, { fetch: first.fetch, delays: [], store: store() }), { code: 'network' });
  const second = network((range) => rest(range));
  assert.deepEqual(await download(URL_, entry, { fetch: second.fetch, delays, store: store() }), bytes);
  assert.deepEqual(second.asked, [PIECE]);
  assert.deepEqual(await store().load(entry), bytes);
});

test('a server that ignores ranges sends the whole file, which is taken from its start', async () => {
  const { fetch } = network((_range, attempt) => (attempt === 1 ? broken(0, 70_000) : whole()));
  assert.deepEqual(await download(URL_, entry, { fetch, delays }), bytes);
});

test('a server that sends another range than asked for is asked for the whole', async () => {
  const { fetch, asked } = network((range, attempt) => {
    if (attempt === 1) return broken(0, 70_000);
    return range > 0 ? rest(range - 1) : whole();
  });
  assert.deepEqual(await download(URL_, entry, { fetch, delays }), bytes);
  assert.deepEqual(asked, [0, 70_000, 0]);
});

test('a server that refuses ranges is asked for the whole in the end', async () => {
  const { fetch } = network((range, attempt) => {
    if (attempt === 1) return broken(0, 70_000);
    return range > 0 ? Promise.reject(new TypeError('preflight')) : whole();
  });
  assert.deepEqual(await download(URL_, entry, { fetch, delays }), bytes);
});

test('what came before a network went away is kept for the next visit', async () => {
  const storage = new MemoryStorage();
  const store = () => new ModelStore(storage, 'm');
  const away = network((_range, attempt) =>
    attempt === 1 ? broken(0, PIECE + 10) : Promise.reject(new TypeError('offline')),
  );
  await assert.rejects(download(URL_, entry, { fetch: away.fetch, delays, store: store() }), { code: 'network' });
  const back = network((range) => rest(range));
  assert.deepEqual(await download(URL_, entry, { fetch: back.fetch, delays, store: store() }), bytes);
  assert.deepEqual(back.asked, [PIECE]);
});

test('a damaged file is fetched once more, and a second damage is an integrity error', async () => {
  const damaged = () => new Response(bytes.map((byte, i) => (i === 9 ? byte ^ 1 : byte)));
  const storage = new MemoryStorage();
  const store = new ModelStore(storage, 'm');
  const once = network((_range, attempt) => (attempt === 1 ? damaged() : whole()));
  assert.deepEqual(await download(URL_, entry, { fetch: once.fetch, delays, store }), bytes);
  assert.deepEqual(await store.load(entry), bytes);
  await store.discard(entry);
  const twice = network(damaged);
  await assert.rejects(download(URL_, entry, { fetch: twice.fetch, delays, store }), { code: 'integrity' });
  assert.equal(twice.asked.length, 2);
  assert.equal(await store.load(entry), undefined);
});

test('a longer file than promised is not taken', async () => {
  const { fetch } = network(() => new Response(new Uint8Array(bytes.length + 1)));
  await assert.rejects(download(URL_, entry, { fetch, delays }), { code: 'integrity' });
});

test('a network that stays away is a network error after some attempts; a missing file after one', async () => {
  const away = network(() => Promise.reject(new TypeError('offline')));
  await assert.rejects(download(URL_, entry, { fetch: away.fetch, delays }), { code: 'network', retryable: true });
  assert.equal(away.asked.length, 1 + delays.length);
  const missing = network(() => new Response('', { status: 404 }));
  await assert.rejects(download(URL_, entry, { fetch: missing.fetch, delays }), { code: 'network', retryable: false });
  assert.equal(missing.asked.length, 1);
});

test('an abort ends the download and its attempts', async () => {
  const aborting = new AbortController();
  const { fetch, asked } = network(() => {
    aborting.abort();
    return Promise.reject(new DOMException('x', 'AbortError'));
  });
  await assert.rejects(download(URL_, entry, { fetch, delays, signal: aborting.signal }), { code: 'aborted' });
  assert.equal(asked.length, 1);
});

test('a full storage does not end the download', async () => {
  const { fetch } = network(whole);
  const warnings: string[] = [];
  const store = new ModelStore(new MemoryStorage(PIECE), 'm', (message) => warnings.push(message));
  assert.deepEqual(await download(URL_, entry, { fetch, delays, store }), bytes);
  assert.equal(warnings.length, 1);
});

/** A server on this machine, with the first byte that each request asked for. */
async function server(answer: (response: ServerResponse, from: number, attempt: number) => void) {
  const asked: number[] = [];
  const http = createServer((request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    asked.push(from);
    answer(response, from, asked.length);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/w.safetensors`;
  const close = () => (http.closeAllConnections(), http.close());
  return { asked, url, close };
}

const stalled = { name: 'GuardError', code: 'network', retryable: true, message: /none came for 0.2 s/ };

test('a server that stalls in the middle is left, and the next attempt goes on from there', async () => {
  const { asked, url, close } = await server((response, from, attempt) => {
    const headers = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
    if (from > 0) return void response.writeHead(206, headers).end(bytes.subarray(from));
    response.writeHead(200).write(bytes.subarray(0, attempt === 1 ? PIECE + 10 : 0));
  });
  try {
    assert.deepEqual(await download(url, entry, { fetch, delays, stall: 200 }), bytes);
    assert.deepEqual(asked, [0, PIECE + 10]);
  } finally {
    close();
  }
});

test('a server that stalls for good is a network error that may be tried again, and what came is kept', async () => {
  const storage = new MemoryStorage();
  const store = () => new ModelStore(storage, 'm');
  const stuck = await server((response, from) => {
    if (from === 0) response.writeHead(200).write(bytes.subarray(0, PIECE + 10));
  });
  try {
    await assert.rejects(download(stuck.url, entry, { fetch, delays: [0], store: store(), stall: 200 }), stalled);
    assert.deepEqual(stuck.asked, [0, PIECE + 10]);
  } finally {
    stuck.close();
  }
  const back = network((range) => rest(range));
  assert.deepEqual(await download(URL_, entry, { fetch: back.fetch, delays, store: store() }), bytes);
  assert.deepEqual(back.asked, [PIECE]);
});

test('a server that never answers is left, whether or not a fetch heeds its signal', async () => {
  const { asked, url, close } = await server(() => {});
  const deaf = (() => new Promise(() => {})) as typeof globalThis.fetch;
  try {
    await assert.rejects(download(url, entry, { fetch, delays: [], stall: 200 }), stalled);
    await assert.rejects(fetchSmall(url, { bytes: 10, code: 'bad_model' }, { fetch, stall: 200 }), stalled);
    assert.equal(asked.length, 2);
    await assert.rejects(download(url, entry, { fetch: deaf, delays: [], stall: 200 }), stalled);
  } finally {
    close();
  }
});

test('a slow server is not left while bytes come', async () => {
  const small = bytes.subarray(0, 12);
  const slow: FileEntry = { name: 'w', size: 12, sha256: createHash('sha256').update(small).digest('hex') };
  const { asked, url, close } = await server((response) => {
    response.writeHead(200);
    let at = 0;
    const timer = setInterval(
      () => (at < 12 ? response.write(small.subarray(at, ++at)) : (clearInterval(timer), response.end())),
      100,
    );
  });
  try {
    assert.deepEqual(await download(url, slow, { fetch, delays: [], stall: 1000 }), small);
    assert.equal(asked.length, 1);
  } finally {
    close();
  }
});
