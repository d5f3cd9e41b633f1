/** What comes out of a held-back stream, and what never does. */

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { GuardError } from '../src/errors.ts';
import { openGuard } from '../src/guard.ts';
import { LocalEngine } from '../src/local.ts';
import type { Guard } from '../src/types.ts';
import { type FakeCore, fakeCore, fakeParts, trap, until, ownModel } from './fakes.ts';

const reach = { fetch: fetch, base: undefined };
const open = (core: FakeCore): Promise<Guard> =>
  openGuard(
    { device: 'cpu' },
    { reach, ownModel, connect: (spec, hooks) => LocalEngine.load(fakeParts(core), spec, hooks) },
  );

function streamOf<T>(chunks: T[]): ReadableStream<T> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

type Writer = WritableStreamDefaultWriter<string | Uint8Array>;

/** What came out before the end or the error. */
async function read<T>(stream: ReadableStream<T>): Promise<{ chunks: T[]; error?: GuardError }> {
  const chunks: T[] = [];
  try {
    for await (const chunk of stream) chunks.push(chunk);
    return { chunks };
  } catch (error) {
    return { chunks, error: error as GuardError };
  }
}

test('text goes in and the same text comes out, as text', async () => {
  const core = fakeCore();
  const guard = await open(core);
  const { chunks, error } = await read(streamOf(['Bread ', 'is ', '', 'good.']).pipeThrough(guard.transform()));
  assert.equal(error, undefined);
  assert.equal(chunks.join(''), 'Bread is good.');
  await until(() => core.monitors === 0);
});

test('bytes come out as the same bytes, wherever they were cut', async () => {
  const guard = await open(fakeCore());
  const text = '\ufeffBrötchen 🥐 und Käse 🧀';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size < 6; size++) {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += size) parts.push(bytes.slice(at, at + size));
    const { chunks } = await read(streamOf(parts).pipeThrough(guard.transform()));
    assert.ok(chunks.every((chunk) => chunk instanceof Uint8Array));
    assert.deepEqual(Buffer.concat(chunks as Uint8Array[]), Buffer.from(bytes));
  }
});

test('a character whose halves come in two strings is judged whole', async () => {
  const core = fakeCore();
  const guard = await open(core);
  const pushed: string[] = [];
  const { chunks } = await read(
    streamOf(['a\ud83e', '\udd50b']).pipeThrough(guard.transform({ onCheck: (seen) => pushed.push(String(seen)) })),
  );
  assert.equal(chunks.join(''), 'a🥐b');
  assert.deepEqual(pushed, ['4', '4']);
});

const sse = (text: string, from = 'data: ') =>
  [...text.matchAll(/.{1,6}/gs)].map(
    ([content]) => `${from}${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`,
  );

test('the frames of a chat API are refused, however they are cut', async () => {
  const core = fakeCore();
  const guard = await open(core);
  const bodies = [
    sse('good bad more').join(''),
    sse('good bad more', 'event: message\ndata: ').join(''),
    `: OPENROUTER PROCESSING\n\n${sse('good bad').join('')}`,
    JSON.stringify(
      { id: 'c-1', object: 'chat.completion', choices: [{ message: { content: 'good bad' } }] },
      undefined,
      2,
    ),
    JSON.stringify({ model: 'm', created_at: '2026-01-01', message: { role: 'assistant', content: 'ba' } }),
    JSON.stringify([{ candidates: [{ content: { role: 'model', parts: [{ text: 'ba' }] } }] }]),
    `\n${JSON.stringify({ type: 'message', role: 'assistant', content: [{ type: 'text', text: 'bad' }] })}`,
  ];
  for (const body of bodies) {
    for (const size of [1, 3, body.length]) {
      const chunks = [...body.matchAll(new RegExp(`.{1,${size}}`, 'gs'))].map(([chunk]) => chunk);
      const { chunks: out, error } = await read(streamOf(chunks).pipeThrough(guard.transform()));
      assert.deepEqual([out, error?.code], [[], 'bad_input'], body);
      assert.match(error!.message, /API frames; send the text in them/);
    }
  }
  assert.equal(core.monitors, 0);
});

test('text that begins like frames, or is said to be text, goes through', async () => {
  const guard = await open(fakeCore());
  const texts = [
    'data is good',
    'Data: 3 of 4',
    'id',
    '{"name": "Ada", "age": 36}',
    '{',
    '[1, 2, 3]',
    ': )',
    'identity',
    '',
    `{"a": "${'x'.repeat(2000)}"}`,
  ];
  for (const text of texts) {
    const { chunks, error } = await read(streamOf([...text]).pipeThrough(guard.transform()));
    assert.deepEqual([chunks.join(''), error], [text, undefined]);
  }
  const body = sse('good').join('');
  const { chunks } = await read(streamOf([body]).pipeThrough(guard.transform({ frames: 'text' })));
  assert.equal(chunks.join(''), body);
  assert.throws(() => guard.transform({ frames: 'json' as 'text' }), { code: 'bad_input' });
});

test('flagged text never comes out, and the error has the verdict', async () => {
  const core = fakeCore();
  const guard = await open(core);
  const { chunks, error } = await read(streamOf(['good ', 'bad ', 'more']).pipeThrough(guard.transform()));
  assert.ok(!chunks.join('').includes('bad'));
  assert.ok(error instanceof GuardError);
  assert.equal(error.code, 'blocked');
  assert.equal(error.verdict?.decision, 'block');
  await until(() => core.monitors === 0);
});

test('what is to be reviewed is let through and told, or withheld where that is asked for', async () => {
  const guard = await open(fakeCore());
  const text = ['a very ', 'odd ', 'sentence'];
  const told: string[] = [];
  const shown = await read(
    streamOf(text).pipeThrough(guard.transform({ onCheck: (_, { decision }) => told.push(decision) })),
  );
  assert.deepEqual([shown.chunks.join(''), shown.error, told.at(-1)], [text.join(''), undefined, 'review']);
  const withheld = await read(streamOf(text).pipeThrough(guard.transform({ releaseOnReview: false })));
  assert.ok(!withheld.chunks.join('').includes('odd'));
  assert.deepEqual([withheld.error?.code, withheld.error?.verdict?.decision], ['blocked', 'review']);
});

test('text that cannot be judged never comes out', async () => {
  const core = fakeCore();
  const guard = await open(core);
  core.failNext = Object.assign(new Error('too long'), { code: 'context_length' });
  const failed = await read(streamOf(['one two three']).pipeThrough(guard.transform()));
  assert.deepEqual([failed.chunks, failed.error?.code], [[], 'context_length']);
  core.failNext = trap();
  const crashed = await read(streamOf(['one two three']).pipeThrough(guard.transform()));
  assert.deepEqual([crashed.chunks, crashed.error?.code], [[], 'crashed']);
  const odd = await read(streamOf([7 as unknown as string]).pipeThrough(guard.transform()));
  assert.equal(odd.error?.code, 'bad_input');
  assert.equal((await guard.check('bread')).decision, 'allow');
});

test("a reader that leaves, an abort and the guard's end free the monitor and end the writer", async () => {
  const core = fakeCore();
  for (const end of ['reader', 'abort', 'dispose', 'writer'] as const) {
    const guard = await open(core);
    const aborting = new AbortController();
    const { readable, writable } = guard.transform({ signal: aborting.signal });
    const reader = readable.getReader();
    const writer = writable.getWriter();
    writer.closed.catch(() => {});
    const first = reader.read();
    await writer.write('good text');
    await first;
    assert.equal(core.monitors, 1);
    const more = reader.read().then(
      () => undefined,
      (error: unknown) => error,
    );
    if (end === 'reader') await reader.cancel();
    if (end === 'abort') aborting.abort();
    if (end === 'dispose') await guard.dispose();
    if (end === 'writer') await writer.abort(new Error('upstream broke'));
    await until(() => core.monitors === 0);
    if (end === 'abort') assert.equal(((await more) as GuardError).code, 'aborted');
    if (end === 'dispose') assert.equal(((await more) as GuardError).code, 'disposed');
    if (end !== 'reader' && end !== 'writer') await assert.rejects(writer.write('more'));
    await guard.dispose();
  }
});

test('a stream that nobody uses holds on to nothing, and one that is aborted before its first text says so', async () => {
  const guard = await open(fakeCore());
  const aborting = new AbortController();
  const { signal } = aborting;
  const listening = () => getEventListeners(signal, 'abort').length;
  const unused = guard.transform({ signal });
  assert.equal(listening(), 0);

  const waiting = guard.transform({ signal });
  const writer = waiting.writable.getWriter();
  const first = assert.rejects(waiting.readable.getReader().read(), { code: 'aborted' });
  await until(() => listening() === 1);
  aborting.abort();
  await first;
  await assert.rejects(writer.closed, { code: 'aborted' });
  assert.equal(listening(), 0);

  assert.equal((await read(unused.readable)).error?.code, 'aborted');
  await assert.rejects(guard.transform({ signal }).writable.getWriter().write('bread'), { code: 'aborted' });
});

test('a crash in the middle ends the stream; the rest is not judged by a monitor that saw nothing', async () => {
  const core = fakeCore();
  const guard = await open(core);
  const { readable, writable } = guard.transform();
  const writer = writable.getWriter();
  const out = read(readable);
  await writer.write('good text');
  core.failNext = trap();
  await guard.check('bread').catch(() => {});
  await assert.rejects(writer.write('more'), { code: 'crashed' });
  assert.equal((await out).error?.code, 'crashed');
});

test('checks and a growing text share the guard', async () => {
  const guard = await open(fakeCore());
  const body = read(streamOf(Array.from({ length: 20 }, (_, i) => `piece ${i} `)).pipeThrough(guard.transform()));
  const verdicts = await Promise.all(['a', 'b', 'bad'].map((text) => guard.check(text)));
  assert.deepEqual(
    verdicts.map((verdict) => verdict.decision),
    ['allow', 'allow', 'block'],
  );
  assert.match((await body).chunks.join(''), /piece 19 $/);
});

test('options of a transform that make no sense are named', async () => {
  const guard = await open(fakeCore());
  assert.throws(() => guard.transform({ checkEvery: 0 }), { code: 'bad_input', message: /checkEvery/ });
  assert.throws(() => guard.transform({ releaseOnReview: 'no' as never }), {
    code: 'bad_input',
    message: /releaseOnReview/,
  });
  assert.throws(() => guard.transform({ holdBack: -1 }), { code: 'bad_input', message: /holdBack/ });
});

test('text that waits too long is checked before its sentence has ended, whether more comes or not', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1 });
  const core = fakeCore();
  // As the core, which waits for the end of a sentence.
  core.patient = true;
  const guard = await open(core);
  const { readable, writable } = guard.transform({ maxWait: 500 });
  const writer = writable.getWriter();
  const out = read(readable);
  await writer.write('warm the pot ');
  t.mock.timers.tick(499);
  await writer.write('and ');
  assert.deepEqual(core.pushes, ['push', 'push']);
  t.mock.timers.tick(1);
  await writer.write('then ');
  // The write came behind the check, not beside it.
  assert.deepEqual(core.pushes, ['push', 'push', 'checkNow', 'push']);
  t.mock.timers.setTime(1 + 500 + 600);
  await writer.write('pour');
  assert.deepEqual(core.pushes.slice(3), ['push', 'push', 'checkNow']);
  await writer.close();
  assert.equal((await out).chunks.join(''), 'warm the pot and then pour');
  // Nothing is left to wait for.
  t.mock.timers.tick(5000);
  assert.equal(core.pushes.at(-1), 'finish');
});

test('a check of what waits ends the stream where it blocks, and without a wait there is none', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1 });
  const core = fakeCore();
  core.patient = true;
  const guard = await open(core);
  const { readable, writable } = guard.transform({ maxWait: 500 });
  const writer = writable.getWriter();
  const out = read(readable);
  await writer.write('now a bad ');
  t.mock.timers.tick(500);
  assert.deepEqual([(await out).chunks, (await out).error?.code], [[], 'blocked']);
  await assert.rejects(writer.write('more'), { code: 'blocked' });

  // Whoever writes or ends while that check runs hears of it, too.
  for (const end of [(writer: Writer) => writer.write('more'), (writer: Writer) => writer.close()]) {
    const busy = guard.transform({ maxWait: 500 });
    const late = busy.writable.getWriter();
    const nothing = read(busy.readable);
    await late.write('now a bad ');
    t.mock.timers.tick(500);
    await assert.rejects(end(late), { code: 'blocked' });
    assert.deepEqual((await nothing).chunks, []);
  }
  core.pushes.length = 0;

  const never = guard.transform({ maxWait: 0 });
  const patient = never.writable.getWriter();
  void read(never.readable);
  await patient.write('now a bad ');
  t.mock.timers.tick(1e6);
  await patient.write('pot ');
  assert.deepEqual(core.pushes, ['push', 'push']);
});

test('the pace goes to the core, and an adaptive one by default', async () => {
  const core = fakeCore();
  const guard = await open(core);
  for (const options of [{}, { pace: 'steady', holdBack: 7, checkEvery: 9 }] as const) {
    await read(streamOf(['bread']).pipeThrough(guard.transform(options)));
  }
  assert.deepEqual(core.paces, [
    { checkEvery: 160, holdBack: 24, pace: 'adaptive', releaseOnReview: true },
    { checkEvery: 9, holdBack: 7, pace: 'steady', releaseOnReview: true },
  ]);
});
