/** Who computes when: short calls pass long ones, and nobody waits for ever. */

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { FairQueue, type Turn } from '../src/queue.ts';
import { until } from './fakes.ts';

/** A call that pauses so many times; each stretch of it is written down. */
function call(log: string[], name: string, pauses: number) {
  return async (turn: Turn): Promise<string> => {
    for (let i = 0; i < pauses; i++) {
      log.push(name);
      await turn.pause();
    }
    return name;
  };
}

test('short calls run one after the other, in their order', async () => {
  const queue = new FairQueue();
  const log: string[] = [];
  await Promise.all(['a', 'b', 'c'].map((name) => queue.run(call(log, name, 4))));
  assert.equal(log.join(''), 'aaaabbbbcccc');
});

test('a long call lets every short one pass, whenever that comes', async () => {
  const queue = new FairQueue();
  const log: string[] = [];
  const ended: string[] = [];
  const run = (name: string, pauses: number) => queue.run(call(log, name, pauses)).then((name) => ended.push(name));
  const long = run('L', 200);
  await until(() => log.length > 20);
  const early = [1, 2, 3].map(() => run('s', 5));
  await until(() => log.length > 60);
  await Promise.all([long, ...early, run('s', 5)]);
  assert.equal(ended.join(''), 'ssssL');
});

test('of two long calls, the one that had less goes first', async () => {
  const queue = new FairQueue();
  const log: string[] = [];
  const ended: string[] = [];
  const run = (name: string, pauses: number) => queue.run(call(log, name, pauses)).then((name) => ended.push(name));
  const longest = run('L', 300);
  await until(() => log.length > 100);
  await Promise.all([run('l', 50), longest]);
  assert.equal(ended.join(''), 'lL');
});

test('a long call goes on although short ones never end', async () => {
  const queue = new FairQueue();
  const log: string[] = [];
  let over = false;
  const long = queue.run(call(log, 'L', 30)).then(() => (over = true));
  const caller = async () => {
    while (!over) await queue.run(call(log, 's', 4));
  };
  await Promise.all([long, caller(), caller(), caller()]);
  const others = log.slice(log.indexOf('s'), log.lastIndexOf('L'));
  assert.ok(others.length < 16 * others.filter((name) => name === 'L').length + 32, log.join(''));
});

test('one computes at a time, and a few are under way', async () => {
  const queue = new FairQueue();
  let [computing, most, begun, mostBegun] = [0, 0, 0, 0];
  const task = async (turn: Turn) => {
    mostBegun = Math.max(mostBegun, ++begun);
    for (let i = 0; i < 40; i++) {
      most = Math.max(most, ++computing);
      await Promise.resolve();
      computing--;
      await turn.pause();
    }
    begun--;
  };
  await Promise.all(Array.from({ length: 30 }, () => queue.run(task)));
  assert.equal(most, 1);
  assert.ok(mostBegun <= 8, `${mostBegun} were under way`);
  await queue.idle();
});

test('an abort counts while a call waits to begin and while it has paused', async () => {
  const queue = new FairQueue();
  const log: string[] = [];
  const [first, second] = [new AbortController(), new AbortController()];
  const paused = queue.run(async (turn) => {
    while (!first.signal.aborted) {
      log.push('p');
      await turn.pause();
    }
  }, first.signal);
  await until(() => log.length > 10);
  let letGo: (() => void) | undefined;
  const holding = queue.run((turn) => turn.aside(new Promise<void>((resolve) => (letGo = resolve))).then(() => 'held'));
  const waiting = queue.run(call(log, 'w', 1), second.signal);
  second.abort();
  first.abort();
  await assert.rejects(waiting, { code: 'aborted' });
  await assert.rejects(paused, { code: 'aborted' });
  await until(() => letGo !== undefined);
  letGo?.();
  assert.equal(await holding, 'held');
  assert.equal(log.includes('w'), false);
  await queue.idle();
});

test('calls that are given up in a pause and never go on hold up nobody', async () => {
  const queue = new FairQueue();
  // More than may be under way at once.
  for (let gone = 0; gone < 9; gone++) {
    const controller = new AbortController();
    const stuck = async (turn: Turn) => {
      mock.method(globalThis, 'setImmediate', () => {});
      void turn.pause();
      mock.restoreAll();
      controller.abort();
      await new Promise(() => {});
    };
    await assert.rejects(queue.run(stuck, controller.signal), { code: 'aborted' });
  }
  assert.equal(await queue.run(async () => 'next'), 'next');
});

test('a call that fails passes its turn on', async () => {
  const queue = new FairQueue();
  const failing = queue.run(() => Promise.reject(new Error('own')));
  const next = queue.run(async () => 7);
  await assert.rejects(failing, { message: 'own' });
  assert.equal(await next, 7);
  await queue.idle();
});
