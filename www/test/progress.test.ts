/** What a page may rely on while a model loads. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProgressTracker } from '../src/progress.ts';
import type { Progress } from '../src/types.ts';

function track() {
  const events: Progress[] = [];
  const clock = { now: 0 };
  const tracker = new ProgressTracker(
    (progress) => events.push(progress),
    () => clock.now,
  );
  return { events, clock, tracker };
}

test('loaded never falls and total never changes, even when a file is fetched anew or the device changes', () => {
  const { events, clock, tracker } = track();
  tracker.stage('wasm');
  tracker.total(100);
  tracker.stage('model');
  for (const [file, bytes] of [
    ['a', 30],
    ['a', 60],
    ['a', 10],
    ['b', 20],
    ['a', 60],
    ['b', 40],
  ] as const) {
    clock.now += 1000;
    tracker.file(file, bytes, false);
  }
  tracker.stage('self-test');
  tracker.stage('wasm');
  tracker.total(7);
  clock.now += 1000;
  tracker.file('a', 5, true);
  tracker.stage('ready');
  const loaded = events.map((event) => event.loaded);
  assert.deepEqual(
    loaded,
    [...loaded].sort((a, b) => a - b),
  );
  assert.deepEqual([...new Set(events.map((event) => event.total))], [0, 100]);
  assert.deepEqual(
    events.map((event) => event.stage).filter((stage, i, all) => stage !== all[i - 1]),
    ['wasm', 'model', 'self-test', 'ready'],
  );
  assert.deepEqual(events.at(-1), { stage: 'ready', loaded: 100, total: 100 });
});

test('the last event is ready and whole, and nothing follows it', () => {
  const { events, clock, tracker } = track();
  tracker.stage('wasm');
  tracker.total(10);
  tracker.stage('ready');
  clock.now += 1000;
  tracker.file('a', 10, false);
  tracker.stage('ready');
  assert.deepEqual(events.at(-1), { stage: 'ready', loaded: 10, total: 10 });
  assert.equal(events.filter((event) => event.stage === 'ready').length, 1);
});

test('bytes are told at most each 100 ms, a new stage at once', () => {
  const { events, clock, tracker } = track();
  tracker.total(1000);
  tracker.stage('model');
  for (let bytes = 1; bytes <= 500; bytes++) {
    clock.now += 1;
    tracker.file('a', bytes, false);
  }
  assert.equal(events.length, 1 + 5);
  tracker.stage('self-test');
  assert.equal(events.at(-1)?.stage, 'self-test');
});

test('a listener that throws does not end the loading', (t) => {
  t.mock.method(console, 'error', () => {});
  const tracker = new ProgressTracker(() => {
    throw new Error('the page has a mistake');
  });
  tracker.stage('wasm');
  tracker.stage('ready');
});
