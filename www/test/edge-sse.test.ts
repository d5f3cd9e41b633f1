/** Events are read the same however their bytes are cut. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { writeEvent } from '../edge/src/sse.ts';
import { eventsOf } from './support/events.ts';

const LIMIT = 1000;

test('an event ends at a blank line, whatever the line breaks', async () => {
  for (const end of ['\n', '\r\n', '\r']) {
    assert.deepEqual(await eventsOf([`data: a${end}${end}data: b${end}${end}`]), [{ data: 'a' }, { data: 'b' }]);
  }
});

test('a stream may be cut anywhere, also within a line break', async () => {
  const text = '\ufeffevent: x\r\ndata: {"a":1}\r\n\r\n: note\r\ndata: two\r\ndata:  lines\r\n\r\ndata: [DONE]\r\n\r\n';
  const whole = await eventsOf([text]);
  assert.deepEqual(whole, [{ data: '{"a":1}', event: 'x' }, { data: 'two\n lines' }, { data: '[DONE]' }]);
  assert.deepEqual(await eventsOf([...text]), whole, 'character by character');
  for (let at = 0; at <= text.length; at++) {
    assert.deepEqual(await eventsOf([text.slice(0, at), text.slice(at)]), whole, `cut at ${at}`);
  }
});

test('an event keeps its type and id, and the next one does not inherit its type', async () => {
  const events = await eventsOf(['id: 7\nevent: e\ndata: a\n\ndata: b\n\n']);
  assert.deepEqual(events, [{ data: 'a', event: 'e', id: '7' }, { data: 'b' }]);
});

test('comments, unknown fields, and events without data say nothing', async () => {
  assert.deepEqual(await eventsOf([': ping\n\nretry: 5\nretry: soon\nfoo: bar\n\nevent: e\n\ndata\n\n']), [
    { data: '' },
  ]);
});

test('one blank after the colon is left out, others stay', async () => {
  assert.deepEqual(await eventsOf(['data:a\n\ndata:  b\n\n']), [{ data: 'a' }, { data: ' b' }]);
});

test('a last event without its blank line is read', async () => {
  for (const end of ['', '\n', '\r', '\r\n']) {
    assert.deepEqual(await eventsOf([`data: a\n\ndata: [DONE]${end}`]), [{ data: 'a' }, { data: '[DONE]' }]);
  }
});

test('an event that is too large ends the stream, in one piece or in many, with its end or without', async () => {
  const line = `data: ${'x'.repeat(LIMIT + 1)}`;
  const lines = `data: ${'x'.repeat(99)}\n`.repeat(20);
  for (const text of [line, `${line}\n\n`, lines, `${lines}\n`]) {
    await assert.rejects(eventsOf([text], LIMIT), { status: 502, code: 'upstream' });
    await assert.rejects(eventsOf([...text], LIMIT), { status: 502, code: 'upstream' });
  }
});

test('a stream of events that are small enough may be as long as it likes', async () => {
  const text = `data: ${'x'.repeat(LIMIT)}\n\n`.repeat(5);
  assert.equal((await eventsOf([text], LIMIT)).length, 5);
});

test('a character that is cut between two pieces is read whole', async () => {
  const bytes = new TextEncoder().encode('data: größer 🙂\n\n');
  assert.deepEqual(await eventsOf([...bytes].map((byte) => new Uint8Array([byte]))), [{ data: 'größer 🙂' }]);
});

test('what is written is read again', async () => {
  const event = { event: 'verdict', id: '3', data: 'a\nb\n' };
  assert.deepEqual(await eventsOf([writeEvent(event)]), [event]);
});
