/** Events are read the same however their bytes are cut. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readEvents, type ServerSentEvent, SseParser, writeEvent } from '../edge/src/sse.ts';

const LIMIT = 1000;

function parse(...pieces: string[]): ServerSentEvent[] {
  const parser = new SseParser(LIMIT);
  return [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()];
}

test('an event ends at a blank line, whatever the line breaks', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    assert.deepEqual(parse(`data: a${end}${end}data: b${end}${end}`), [{ data: 'a' }, { data: 'b' }]);
  }
});

test('a stream may be cut anywhere, also within a line break', () => {
  const text = '\ufeffevent: x\r\ndata: {"a":1}\r\n\r\n: note\r\ndata: two\r\ndata:  lines\r\n\r\ndata: [DONE]\r\n\r\n';
  const whole = parse(text);
  assert.deepEqual(whole, [{ data: '{"a":1}', event: 'x' }, { data: 'two\n lines' }, { data: '[DONE]' }]);
  assert.deepEqual(parse(...text), whole, 'character by character');
  for (let at = 0; at <= text.length; at++) assert.deepEqual(parse(text.slice(0, at), text.slice(at)), whole, `cut at ${at}`);
});

test('an event keeps its type and id, and the next one does not inherit its type', () => {
  assert.deepEqual(parse('id: 7\nevent: e\ndata: a\n\ndata: b\n\n'), [{ data: 'a', event: 'e', id: '7' }, { data: 'b' }]);
});

test('comments, unknown fields, and events without data say nothing', () => {
  assert.deepEqual(parse(': ping\n\nretry: 5\nfoo: bar\n\nevent: e\n\ndata\n\n'), [{ data: '' }]);
});

test('one blank after the colon is left out, others stay', () => {
  assert.deepEqual(parse('data:a\n\ndata:  b\n\n'), [{ data: 'a' }, { data: ' b' }]);
});

test('a last event without its blank line is read', () => {
  assert.deepEqual(parse('data: a\n\ndata: [DONE]'), [{ data: 'a' }, { data: '[DONE]' }]);
});

test('an event without an end does not fill the memory', () => {
  const one = new SseParser(LIMIT);
  assert.throws(() => one.push(`data: ${'x'.repeat(LIMIT)}`), { code: 'upstream' });
  const many = new SseParser(LIMIT);
  assert.throws(() => many.push(`data: ${'x'.repeat(99)}\n`.repeat(20)), { code: 'upstream' });
});

test('a character that is cut between two pieces is read whole', async () => {
  const bytes = new TextEncoder().encode('data: größer 🙂\n\n');
  const pieces = [...bytes].map((byte) => new Uint8Array([byte]));
  const events: ServerSentEvent[] = [];
  for await (const event of readEvents(async () => pieces.shift() ?? null, LIMIT)) events.push(event);
  assert.deepEqual(events, [{ data: 'größer 🙂' }]);
});

test('what is written is read again', () => {
  const event = { event: 'verdict', id: '3', data: 'a\nb\n' };
  assert.deepEqual(parse(writeEvent(event)), [event]);
});
