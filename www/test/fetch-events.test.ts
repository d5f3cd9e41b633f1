/** Events and lines read from bytes: the same wherever they are cut, and never more than the limit in memory. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readLines } from '../src/api/lines.ts';
import { readEvents, writeEvent } from '../src/api/sse.ts';

const LIMIT = 100;
const tooLarge = () => new Error('too large');

/** What is read of a text in pieces of a size, and how many pieces were taken. */
async function read(reader: typeof readEvents | typeof readLines, text: string, size: number, limit = LIMIT) {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  const next = async () => {
    const piece = bytes.slice(at, at + size);
    at += size;
    return piece.length === 0 ? null : piece;
  };
  const all: unknown[] = [];
  try {
    for await (const item of reader(next, limit, tooLarge)) all.push(item);
    return { all, taken: at, error: null };
  } catch (error) {
    return { all, taken: at, error };
  }
}

test('events and lines are the same wherever their bytes are cut', async () => {
  const events = ['data: {"a":"Größe 🙂"}\n\n', 'event: x\nid: 7\ndata: one\ndata: two\n\n', 'data: [DONE]\n\n'];
  const lines = ['{"a":"Größe 🙂"}', '{"b":1}'];
  for (let size = 1; size < 40; size++) {
    const { all } = await read(
      readEvents,
      `: hello\n\n${events.join('').replaceAll('\n', size % 2 ? '\n' : '\r\n')}`,
      size,
    );
    assert.deepEqual(
      all.map((event) => writeEvent(event as never)),
      events,
    );
    assert.deepEqual((await read(readLines, `${lines.join('\n\n')}\n`, size)).all, lines);
  }
});

test('a last event or line without its end counts', async () => {
  assert.deepEqual(
    (await read(readEvents, 'data: one\n\ndata: two', 4)).all.map((event: any) => event.data),
    ['one', 'two'],
  );
  assert.deepEqual((await read(readLines, '{}\n[]', 2)).all, ['{}', '[]']);
});

test('what is larger than the limit is refused, in one piece as in many, as soon as that is known', async () => {
  const most = 'x'.repeat(LIMIT - 10);
  for (const [reader, text] of [
    [readEvents, `data: ${'x'.repeat(3 * LIMIT)}\n\n`],
    [readLines, `${'x'.repeat(3 * LIMIT)}\n`],
  ] as const) {
    assert.match(String((await read(reader, text, 1000)).error), /too large/);
    const { error, taken } = await read(reader, text, 10);
    assert.match(String(error), /too large/);
    assert.ok(taken <= LIMIT + 20, `${taken} bytes were taken`);
  }
  assert.equal((await read(readEvents, `data: ${most}\n\n`.repeat(5), 7)).all.length, 5);
  assert.equal((await read(readLines, `${most}\n`.repeat(5), 7)).all.length, 5);
});
