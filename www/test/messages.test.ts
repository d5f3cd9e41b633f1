/** What a worker does with messages that make no sense, without a real worker: an answer or nothing, never an exception. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuardError } from '../src/errors.ts';
import { LocalEngine } from '../src/local.ts';
import { readFromWorker, readToWorker } from '../src/messages.ts';
import type { FromWorker } from '../src/protocol.ts';
import { RemoteEngine } from '../src/remote.ts';
import { serve } from '../src/serve.ts';
import { type FakeCore, fakeCore, fakeParts, FakeWorker, SPEC, until, verdict } from './fakes.ts';
import { almostRight, random, RIGHT, value } from './support/hostile.ts';

/** A worker's half that keeps what it says. */
function worker(core: FakeCore = fakeCore()) {
  const said: FromWorker[] = [];
  const take = serve(
    (message) => said.push(structuredClone(message)),
    (spec, hooks) => LocalEngine.load(fakeParts(core), spec, hooks),
  );
  const answer = async (message: Record<string, unknown>): Promise<FromWorker> => {
    const { id } = message;
    const found = () => said.find((one) => (one.type === 'done' || one.type === 'failed') && one.id === id);
    take(message);
    await until(() => found() !== undefined);
    return found()!;
  };
  return { said, take, answer };
}

const code = (answer: FromWorker) => (answer.type === 'failed' ? answer.error.code : answer.type);
const check = (id: number) => ({ ...RIGHT[1], id, events: false });

test('no message, whatever it is, is an exception, and the next call is answered', async () => {
  const next = random(13);
  const { take, answer, said } = worker();
  for (let i = 0; i < 20_000; i++) take(value(next));
  for (const { message } of almostRight(next)) take({ ...message, id: 5000 });
  assert.equal(code(await answer({ type: 'load', id: 5001, spec: SPEC })), 'done');
  for (let i = 0; i < 20_000; i++) take(value(next));
  assert.equal(code(await answer(check(5002))), 'done');
  for (const message of said) if (message.type === 'failed') assert.equal(message.error.name, 'GuardError');
});

test('a call with any field that makes no sense is refused with bad_input, and the field is named', () => {
  for (const { message, path } of almostRight(random(14))) {
    const read = readToWorker({ ...message, id: 7 });
    assert.equal(read?.type, 'refused', `${String(message['type'])}: ${path} may be anything`);
    assert.ok(read.type === 'refused' && read.id === 7);
    // A kind decides which fields there are; a type, which call it is.
    const last = path
      .split('.')
      .filter((key) => !/^\d+$/.test(key))
      .at(-1)!;
    assert.ok(read.why.includes(last), `${path}: ${read.why}`);
  }
});

test('every right message is read as it is', () => {
  for (const message of RIGHT) {
    const sent = { ...message, id: 1 };
    assert.equal(readToWorker(sent), sent);
  }
  for (const sent of [
    { type: 'abort', id: 1 },
    { type: 'ack', id: 1 },
    { type: 'close', monitor: 1 },
  ]) {
    assert.equal(readToWorker(sent), sent);
  }
});

test('a refusal does not quote what it refuses', () => {
  const read = readToWorker({ ...check(1), request: { messages: 'the private words of a user', reasoning: 'never' } });
  assert.ok(read?.type === 'refused' && !read.why.includes('private'), JSON.stringify(read));
});

test('before there is a model every call fails with bad_input, and a model can still be loaded', async () => {
  const { answer } = worker();
  for (const [i, call] of RIGHT.slice(1).entries())
    assert.equal(code(await answer({ ...call, id: i + 1 })), 'bad_input');
  assert.equal(code(await answer({ type: 'load', id: 20, spec: SPEC })), 'done');
  assert.equal(code(await answer(check(21))), 'done');
});

test('a worker loads one model: a second load is refused while the first runs and after it', async () => {
  const core = fakeCore();
  const { answer } = worker(core);
  const first = answer({ type: 'load', id: 1, spec: SPEC });
  assert.equal(code(await answer({ type: 'load', id: 2, spec: SPEC })), 'bad_input');
  assert.equal(code(await first), 'done');
  assert.equal(code(await answer({ type: 'load', id: 3, spec: SPEC })), 'bad_input');
  assert.equal(core.loads, 1);
});

test('a load that failed may be tried again', async () => {
  const core = fakeCore();
  core.failNext = Object.assign(new Error('broken'), { code: 'bad_model' });
  const { answer } = worker(core);
  assert.equal(code(await answer({ type: 'load', id: 1, spec: SPEC })), 'bad_model');
  assert.equal(code(await answer({ type: 'load', id: 2, spec: SPEC })), 'done');
});

test('a message with the number of a call that runs is passed over, so that the call has one answer, its own', async () => {
  const { answer, take, said } = worker();
  await answer({ type: 'load', id: 1, spec: SPEC });
  const running = answer(check(2));
  take({ type: 'push', id: 2, monitor: 9, text: '' });
  take({ type: 'nonsense', id: 2 });
  assert.equal(code(await running), 'done');
  assert.equal(said.filter((one) => 'id' in one && one.id === 2).length, 1);
});

test('a page passes over what its worker says that is no message of ours', async () => {
  const started = FakeWorker.started.length;
  const engine = await RemoteEngine.load(() => new FakeWorker(fakeCore()), SPEC);
  const own = FakeWorker.started[started]!;
  const next = random(15);
  for (let i = 0; i < 5000; i++) {
    const data = value(next);
    assert.ok(readFromWorker(data) === undefined || typeof data === 'object');
    if (!isFatal(data)) own.dispatchEvent(Object.assign(new Event('message'), { data }));
  }
  const request = { messages: [{ role: 'user' as const, content: 'bread' }], reasoning: 'never' as const };
  assert.equal((await engine.check(request)).decision, verdict().decision);
  await engine.dispose();
});

/** Whether a message says, in the right form, that the worker is at its end. */
const isFatal = (data: unknown): boolean => readFromWorker(data)?.type === 'trapped';

test('errors of a refusal are GuardErrors on the page', async () => {
  const engine = await RemoteEngine.load(() => new FakeWorker(fakeCore()), SPEC);
  const request = { messages: [], reasoning: 'sometimes' as 'never' };
  await assert.rejects(engine.check(request), (error) => error instanceof GuardError && error.code === 'bad_input');
  await engine.dispose();
});
