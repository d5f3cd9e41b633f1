/** Places, time, bodies: each limit holds, and what went over it leaves nothing behind. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readBody, authorise } from '../edge/src/http.ts';
import { mistakeAt, placeOf } from '../edge/src/json.ts';
import { Gate, within } from '../edge/src/limits.ts';
import { readConfig, type Env } from '../edge/src/config.ts';

const LONG = 60_000;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const never = () => new Promise<never>(() => undefined);

test('no more requests are worked on than there are places', async () => {
  const gate = new Gate(2, 8, LONG);
  let now = 0;
  let most = 0;
  const work = async () => {
    const leave = await gate.enter(LONG);
    most = Math.max(most, ++now);
    await pause(5);
    now--;
    leave();
  };
  await Promise.all(Array.from({ length: 8 }, work));
  assert.equal(most, 2);
});

test('a full queue refuses at once and says when to come again', async () => {
  const gate = new Gate(1, 1, LONG);
  const leave = await gate.enter(LONG);
  const second = gate.enter(LONG);
  await assert.rejects(gate.enter(LONG), { status: 429, code: 'busy', headers: { 'retry-after': '1' } });
  leave();
  (await second)();
  (await gate.enter(LONG))();
});

test('who waits longest comes first', async () => {
  const gate = new Gate(1, 4, LONG);
  const leave = await gate.enter(LONG);
  const order: number[] = [];
  const waiting = [1, 2, 3].map(async (number) => {
    const leave = await gate.enter(LONG);
    order.push(number);
    leave();
  });
  leave();
  await Promise.all(waiting);
  assert.deepEqual(order, [1, 2, 3]);
});

test('waiting ends when the time is over, and when the caller leaves', async () => {
  const gate = new Gate(1, 4, LONG);
  const leave = await gate.enter(LONG);
  await assert.rejects(gate.enter(30), { code: 'busy' });
  const caller = new AbortController();
  const waiting = gate.enter(LONG, caller.signal);
  caller.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  leave();
  (await gate.enter(30))();
});

test('a place whose request was dropped by the runtime becomes free again', async () => {
  const gate = new Gate(1, 4, 20);
  await gate.enter(LONG);
  await pause(40);
  (await gate.enter(LONG))();
});

test('work that takes too long is told to stop and gives a timeout', async () => {
  let told: AbortSignal | undefined;
  const work = within(10, 'the check', (signal) => ((told = signal), never()));
  await assert.rejects(work, { status: 504, code: 'timeout' });
  assert.equal(told?.aborted, true);
});

test('work ends with its caller, and passes on its own result and error', async () => {
  const caller = new AbortController();
  const work = within(LONG, 'the check', never, caller.signal);
  caller.abort();
  await assert.rejects(work, { name: 'AbortError' });
  assert.equal(await within(LONG, 'the check', async () => 7), 7);
  await assert.rejects(
    within(LONG, 'the check', () => Promise.reject(new Error('own'))),
    { message: 'own' },
  );
});

test('a body is counted as it comes, whatever it claims', async () => {
  const stream = () =>
    new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(64).fill(0x20)),
    });
  const request = new Request('http://edge/', { method: 'POST', body: stream(), duplex: 'half' } as RequestInit);
  await assert.rejects(readBody(request, 1000), { status: 413, code: 'too_large' });
});

test('a mistake in JSON is told with its place', async () => {
  const read = (body: string) => readBody(new Request('http://edge/', { method: 'POST', body }), 1000);
  await assert.rejects(read('{"a": 1,\n "b": oops}'), { status: 400, message: /line 2, column 7 \(offset 15\)/ });
  await assert.rejects(read('{"a": [1, 2'), { message: /it ends at line 1, column 12/ });
  await assert.rejects(read('[1]'), { code: 'bad_input', message: /JSON object/ });
  await assert.rejects(read(''), { code: 'bad_input', message: /empty/ });
  assert.deepEqual(await read('{"a": 1}'), { a: 1 });
});

test('a mistake is found where the engine finds one', () => {
  const good = ['{}', '[]', ' {"a":[1,-2.5e+3,true,false,null,"\\u00e4\\n"],"b":{}} ', '0', '"x"'];
  for (const text of good) assert.equal(mistakeAt(text), -1, text);
  const bad: [string, number][] = [
    ['{"a":1,}', 7],
    ['[1 2]', 3],
    ['{a:1}', 1],
    ['01', 1],
    ['"a\nb"', 0],
    ['[1]]', 3],
    ['nul', 0],
    ['{"a"', 4],
  ];
  for (const [text, at] of bad) {
    assert.throws(() => JSON.parse(text));
    assert.equal(mistakeAt(text), at, text);
  }
  assert.notEqual(mistakeAt('['.repeat(100_000)), -1);
  assert.equal(placeOf('ab\ncd', 4), 'line 2, column 2 (offset 4)');
});

test('only the whole key opens', async () => {
  const show = (authorization?: string) =>
    new Request('http://edge/', authorization ? { headers: { authorization } } : {});
  for (const wrong of [undefined, 'Bearer sesam', 'Bearer sesame!', 'Basic sesame', 'Bearer']) {
    await assert.rejects(authorise(show(wrong), 'sesame'), { status: 401, code: 'unauthorized' }, wrong);
  }
  await authorise(show('Bearer sesame'), 'sesame');
  await authorise(show(), null);
});

test('a variable that cannot be meant is refused, not guessed', () => {
  const env = (more: object) => ({ ASSETS: { fetch }, ...more }) as Env;
  assert.equal(readConfig(env({})).maxBodyBytes, 65_536);
  assert.equal(readConfig(env({ CHECK_MS: '250' })).checkMs, 250);
  for (const [value, is] of [
    [undefined, false],
    ['', false],
    ['false', false],
    ['true', true],
    [true, true],
  ]) {
    assert.equal(readConfig(env({ ALLOW_POLICIES: value })).allowPolicies, is);
  }
  for (const wrong of [
    { CHECK_MS: 'soon' },
    { MAX_BODY_BYTES: '0' },
    { REASONING: 'often' },
    { ALLOW_POLICIES: 'yes' },
    { MAX_WORK: 0 },
    { UPSTREAM_URL: 'ftp://x' },
  ]) {
    assert.throws(() => readConfig(env(wrong)), { status: 500, code: 'bad_config' });
  }
});

test('an upstream may be given as a base or in full', () => {
  const upstream = (UPSTREAM_URL: string) => readConfig({ UPSTREAM_URL } as Env).upstream?.href;
  assert.equal(upstream('https://llm.example/v1'), 'https://llm.example/v1/');
  assert.equal(upstream('https://llm.example'), 'https://llm.example/v1/');
  assert.equal(upstream('https://llm.example/api/chat/completions?v=2'), 'https://llm.example/api/?v=2');
  assert.equal(upstream('https://llm.example/chat/completions'), 'https://llm.example/');
});
