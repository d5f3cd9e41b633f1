/** The rules of a guard's calls, the same on both sides of the worker border. */

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { afterEach, describe, test } from 'node:test';
import { GuardError } from '../src/errors.ts';
import { openGuard, type OpenOptions, type Platform } from '../src/guard.ts';
import { LocalEngine } from '../src/local.ts';
import { RemoteEngine } from '../src/remote.ts';
import type { Guard, GuardEvent, Verdict } from '../src/types.ts';
import { type FakeCore, fakeCore, fakeModel, fakeParts, FakeWorker, POLICY, trap, until, ownModel } from './fakes.ts';

const reach = { fetch: (() => Promise.reject(new TypeError('offline'))) as typeof fetch, base: 'https://example.org/' };

const sides: Record<string, (core: FakeCore) => Platform['connect']> = {
  'in the page': (core) => (spec, hooks) => LocalEngine.load(fakeParts(core), spec, hooks),
  'in a worker': (core) => (spec, hooks) => RemoteEngine.load(() => new FakeWorker(core), spec, hooks),
};

const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'fulfilled',
    (error: unknown) => (error instanceof GuardError ? error.code : `no GuardError: ${String(error)}`),
  );

for (const [side, connect] of Object.entries(sides)) {
  describe(side, () => {
    let guards: Guard[] = [];
    const open = async (core: FakeCore, options: OpenOptions = {}) => {
      const guard = await openGuard({ device: 'cpu', ...options }, { reach, ownModel, connect: connect(core) });
      guards.push(guard);
      return guard;
    };
    afterEach(async () => {
      for (const guard of guards) await guard.dispose();
      guards = [];
    });

    test('a check gives the verdict, and the guard says where it runs and under which policy', async () => {
      const guard = await open(fakeCore());
      assert.equal((await guard.check('bread')).decision, 'allow');
      assert.equal((await guard.check([{ role: 'user', content: 'bad' }])).decision, 'block');
      assert.equal(guard.info.device, 'cpu');
      assert.equal(guard.info.model, 'fake');
      assert.deepEqual(guard.policy, POLICY);
    });

    test('an option of a wrong type is bad input that names the option', async () => {
      const wrong = (value: unknown) => value as undefined;
      const guard = await open(fakeCore());
      const named = (option: string) => ({ name: 'GuardError', code: 'bad_input', message: new RegExp(`^${option}`) });
      const call = { signal: 5, target: 5, reasoning: 5n, strictness: 5n, policyLimits: 'mine' };
      for (const [option, value] of Object.entries(call)) {
        const options = { [option]: wrong(value) };
        await assert.rejects(guard.check('bread', options), named(option));
        await assert.rejects(guard.stream('bread', options).verdict, named(option));
        await assert.rejects(guard.stream('bread', options).next(), named(option));
      }
      for (const [option, value] of Object.entries({
        signal: {},
        onCheck: 5,
        checkEvery: 5n,
        holdBack: 'x',
        pace: 'quick',
        maxWait: -1,
        strictness: NaN,
      })) {
        assert.throws(() => guard.transform({ [option]: wrong(value) }), named(option));
      }
      const opening = {
        signal: 5,
        onProgress: 5,
        fetch: 5,
        worker: 5,
        cache: 5,
        offline: 5,
        allowUntested: 5,
        device: 5n,
        onError: {},
        model: 5,
      };
      for (const [option, value] of Object.entries({ ...opening, reasoning: Symbol('x'), strictness: 5n })) {
        await assert.rejects(open(fakeCore(), { [option]: wrong(value) }), named(option));
      }
      for (const options of [null, 5, 'x'].map(wrong))
        await assert.rejects(guard.check('bread', options!), named('the options'));
      assert.equal((await guard.check('bread')).decision, 'allow');
    });

    test("what cannot be read is the caller's mistake, and no crash", async () => {
      const core = fakeCore();
      const guard = await open(core);
      const thrower = (field: string) =>
        Object.defineProperty({}, field, {
          enumerable: true,
          get: () => {
            throw new Error('no');
          },
        });
      const failing = {
        role: 'user' as const,
        get content(): string {
          throw new TypeError('no');
        },
      };
      await assert.rejects(guard.check([failing]), { code: 'bad_input', message: /^messages/ });
      await assert.rejects(guard.check('bread', thrower('policy')), { code: 'bad_input' });
      const platform = { reach, ownModel, connect: connect(core) };
      await assert.rejects(openGuard(thrower('device'), platform), { code: 'bad_input' });
      await assert.rejects(openGuard(5 as OpenOptions, platform), { code: 'bad_input' });
      const cyclic: Record<string, unknown> = { name: 'x' };
      cyclic['categories'] = [cyclic];
      for (const policy of [cyclic, thrower('name')]) {
        await assert.rejects(guard.check('bread', { policy: policy as never }), { code: 'bad_policy' });
        await assert.rejects(guard.setPolicy(policy as never), { code: 'bad_policy' });
      }
      assert.equal(core.loads, 1, 'the instance was not thrown away');
    });

    test("a caller's policy reaches the core with a caller's limits", async () => {
      const core = fakeCore();
      const guard = await open(core);
      await guard.check('bread', { policy: 'name: x', policyLimits: 'caller' });
      await guard.check('bread', { policy: 'name: x' });
      assert.deepEqual(
        core.requests.map((request) => request.policyLimits),
        ['caller', undefined],
      );
    });

    test('calls run one at a time, in the order in which they were made', async () => {
      const core = fakeCore();
      const guard = await open(core);
      await Promise.all(['1', '2', '3', '4'].map((text) => guard.check(text)));
      assert.deepEqual(core.judged, ['1', '2', '3', '4']);
      assert.equal(core.most, 1);
    });

    test('a stream yields the reasoning and then the verdict, which is also its promise', async () => {
      const guard = await open(fakeCore());
      const stream = guard.stream('bread');
      const events: GuardEvent[] = [];
      for await (const event of stream) events.push(event);
      assert.deepEqual(
        events.map((event) => event.type),
        ['reasoning', 'reasoning', 'reasoning', 'verdict'],
      );
      assert.equal((await stream.verdict).decision, 'allow');
      assert.equal((await stream.next()).done, true);
    });

    test('the verdict of a stream comes without anybody reading its events', async () => {
      const guard = await open(fakeCore(100));
      assert.equal((await guard.stream('bad').verdict).decision, 'block');
    });

    test('nothing runs for a stream that nobody reads', async () => {
      const core = fakeCore();
      const guard = await open(core);
      guard.stream('bread');
      await turn();
      assert.equal(core.written, 0);
    });

    test('the model waits for a slow reader', async () => {
      const core = fakeCore(1000);
      const guard = await open(core);
      const stream = guard.stream('bread');
      await stream.next();
      await turn();
      await turn();
      assert.ok(core.written < 20, `${core.written} pieces were written ahead`);
      await stream.return?.();
    });

    test('a stream that is read slowly does not keep other calls waiting, not even from its own loop', async () => {
      const guard = await open(fakeCore(50));
      const inner: Verdict[] = [];
      for await (const event of guard.stream('bread')) {
        if (event.type === 'reasoning' && inner.length === 0) inner.push(await guard.check('bad'));
      }
      assert.equal(inner[0]?.decision, 'block');
    });

    test('leaving the loop ends the judging, rejects the verdict, and lets the next call run', async () => {
      const core = fakeCore(1000);
      const guard = await open(core);
      const stream = guard.stream('bread');
      for await (const event of stream) if (event.type === 'reasoning') break;
      assert.equal(await code(stream.verdict), 'aborted');
      const next = guard.stream('next');
      await next.next();
      await next.return?.();
      await until(() => core.running === 0);
      assert.ok(core.written < 50);
    });

    test('an abort rejects at once, and the next call runs', async () => {
      const core = fakeCore(Infinity);
      const guard = await open(core);
      const aborting = new AbortController();
      const running = guard.check('first', { signal: aborting.signal });
      const next = guard.check('second');
      await until(() => core.running > 0);
      core.pieces = 3;
      aborting.abort(new Error('the user left'));
      await assert.rejects(running, { name: 'GuardError', code: 'aborted' });
      assert.equal((await next).decision, 'allow');
    });

    test('an abort takes a waiting call out of the queue', async () => {
      const core = fakeCore(5);
      const guard = await open(core);
      const aborting = new AbortController();
      const first = guard.check('first');
      const second = guard.check('second', { signal: aborting.signal });
      const third = guard.check('third');
      aborting.abort();
      assert.equal(await code(second), 'aborted');
      await Promise.all([first, third]);
      assert.deepEqual(core.judged, ['first', 'third']);
      assert.equal(await code(guard.check('x', { signal: AbortSignal.abort() })), 'aborted');
    });

    test('a stream holds on to its caller’s signal while it judges, and no longer', async () => {
      const { signal } = new AbortController();
      const listening = () => getEventListeners(signal, 'abort').length;
      const guard = await open(fakeCore(100));
      const unread = guard.stream('bread', { signal });
      const left = guard.stream('bread', { signal });
      const whole = guard.stream('bread', { signal });
      assert.equal(listening(), 0);
      await left.next();
      assert.ok(listening() > 0);
      await left.return?.();
      assert.equal(await code(left.verdict), 'aborted');
      await unread.return?.();
      await whole.verdict;
      assert.equal(listening(), 0);
    });

    test('policies of the last sixteen addresses are kept, and no more', async () => {
      const asked: string[] = [];
      const fetch = (async (url: string) => {
        asked.push(new URL(url).pathname);
        return new Response('name: x');
      }) as unknown as typeof globalThis.fetch;
      const guard = await open(fakeCore(), { fetch });
      const judge = async (...numbers: number[]) => {
        asked.length = 0;
        for (const number of numbers) await guard.check('bread', { policy: `https://example.org/${number}` });
        return asked.join(' ');
      };
      const sixteen = Array.from({ length: 16 }, (_, number) => number);
      assert.equal(await judge(...sixteen), sixteen.map((number) => `/${number}`).join(' '));
      assert.equal(await judge(...sixteen, 0), '');
      // The one that was not asked for longest gives way.
      assert.equal(await judge(16, 0, 2, 16), '/16');
      assert.equal(await judge(1), '/1');
    });

    test('disposing ends what runs and what waits, and frees the model', async () => {
      const core = fakeCore(1000);
      const guard = await open(core);
      const stream = guard.stream('bread');
      await stream.next();
      const waiting = code(guard.check('waiting'));
      await Promise.all([guard.dispose(), guard.dispose()]);
      assert.equal(await waiting, 'disposed');
      assert.equal(await code(stream.verdict), 'disposed');
      assert.equal(await code(guard.check('after')), 'disposed');
      assert.equal(await code(guard.stream('after').verdict), 'disposed');
      assert.equal(await code(guard.setPolicy('openai')), 'disposed');
      const after = guard.transform();
      assert.equal(await code(after.writable.getWriter().write('x')), 'disposed');
    });

    test('a trap is a crash, never a verdict, and the next call has a new instance', async () => {
      const core = fakeCore();
      const guard = await open(core);
      core.failNext = trap();
      assert.equal(await code(guard.check('bread')), 'crashed');
      assert.equal((await guard.check('bread')).decision, 'allow');
      assert.equal(core.loads, 2);
    });

    test('a lost GPU rejects the running call, and the next one loads and tests the model again', async () => {
      const core = fakeCore();
      const guard = await open(core);
      core.failNext = Object.assign(new Error('device lost'), { code: 'device_lost' });
      assert.equal(await code(guard.check('bread')), 'device_lost');
      assert.equal((await guard.check('bread')).decision, 'allow');
      assert.equal(core.loads, 2);
    });

    test('an error of one call leaves the model as it is', async () => {
      const core = fakeCore();
      const guard = await open(core);
      core.failNext = Object.assign(new Error('too long'), { code: 'context_length' });
      assert.equal(await code(guard.check('bread')), 'context_length');
      assert.equal((await guard.check('bread')).decision, 'allow');
      assert.equal(core.loads, 1);
    });

    test('what is no verdict is not taken for one', async () => {
      const core = fakeCore();
      const guard = await open(core);
      core.module.WasmGuard.load = undefined as never;
      const odd = fakeCore();
      const load = odd.module.WasmGuard.load;
      odd.module.WasmGuard.load = async (...args) =>
        Object.assign(await load(...args), { check: async () => ({ decision: 'fine' }) as never });
      assert.equal(await code((await open(odd)).check('x')), 'crashed');
      assert.equal((await guard.check('bread')).decision, 'allow');
    });

    test("a policy is the guard's or the call's, and one with mistakes changes nothing", async () => {
      const core = fakeCore();
      const guard = await open(core, { policy: 'openai' });
      assert.equal(guard.policy.name, 'openai');
      await guard.check('x');
      await guard.check('x', { policy: 'name: mine\n' });
      await assert.rejects(guard.setPolicy('a mistake\n'), { code: 'bad_policy', findings: [{}] });
      assert.equal((await guard.setPolicy('mlcommons')).name, 'mlcommons');
      await guard.check('x');
      const names = core.requests.map(({ policy }) => (JSON.parse(policy ?? '{}') as { name: string }).name);
      assert.deepEqual(names, ['openai', 'name: mine\n', 'mlcommons']);
      assert.equal(await code(guard.check('x', { policy: '/away.yaml' })), 'network');
    });

    test('a policy that was set outlives a crash', async () => {
      const core = fakeCore();
      const guard = await open(core);
      await guard.setPolicy('openai');
      core.failNext = trap();
      assert.equal(await code(guard.check('x')), 'crashed');
      await guard.check('x');
      assert.equal((JSON.parse(core.requests.at(-1)?.policy ?? '{}') as { name: string }).name, 'openai');
      assert.equal(guard.policy.name, 'openai');
    });

    test('input that makes no sense is bad input, and what frameworks hang on messages is left behind', async () => {
      const core = fakeCore();
      const guard = await open(core);
      for (const input of [[], [{}], [null], [{ role: 'user', content: 7 }], 7, null]) {
        assert.equal(await code(guard.check(input as never)), 'bad_input', JSON.stringify(input));
      }
      assert.equal(await code(guard.check('x', { reasoning: 'often' as never })), 'bad_input');
      const message = {
        role: 'user' as const,
        content: [{ type: 'text', text: 'x', extra: () => {} }],
        onClick: () => {},
      };
      await guard.check([message]);
      assert.deepEqual(core.requests.at(-1)?.messages, [{ role: 'user', content: [{ type: 'text', text: 'x' }] }]);
    });

    test('a call’s strictness is its own, then the guard’s, and none where nobody chose one', async () => {
      const core = fakeCore();
      const last = () => core.requests.at(-1)?.strictness;
      const plain = await open(core);
      await plain.check('x');
      assert.equal(last(), undefined);
      const strict = await open(core, { strictness: 0.75 });
      await strict.check('x');
      assert.equal(last(), 0.75);
      await strict.check('x', { strictness: 0 });
      assert.equal(last(), 0);
      const text = (options: { strictness?: number }) => {
        const { readable, writable } = strict.transform(options);
        const writer = writable.getWriter();
        void writer.write('good').then(() => writer.close());
        return readable.pipeTo(new WritableStream());
      };
      await text({});
      assert.equal(last(), 0.75);
      await text({ strictness: 1 });
      assert.equal(last(), 1);
    });

    test('a strictness out of bounds is bad input', async () => {
      const guard = await open(fakeCore());
      for (const strictness of [-0.1, 1.1, NaN, '0.5', null]) {
        assert.equal(await code(guard.check('x', { strictness } as never)), 'bad_input', String(strictness));
        assert.throws(() => guard.transform({ strictness } as never), { code: 'bad_input' }, String(strictness));
      }
    });

    test('an aborted loading rejects, and leaves no guard behind', async () => {
      const core = fakeCore();
      const aborting = new AbortController();
      const loading = code(open(core, { signal: aborting.signal, onProgress: () => aborting.abort() }));
      assert.equal(await loading, 'aborted');
      // A worker's memory goes with it, which the fake has none of.
      if (side === 'in the page') await until(() => core.guards === 0);
      assert.equal(await code(open(core, { signal: AbortSignal.abort() })), 'aborted');
    });

    test('an option that there is not is named, and so are those that there are', async () => {
      const refused = { code: 'bad_input', message: /"strictnes".* strictness/ };
      const misspelt = { strictnes: 1 } as object;
      await assert.rejects(open(fakeCore(), misspelt), refused);
      const guard = await open(fakeCore());
      await assert.rejects(guard.check('x', misspelt), refused);
      assert.throws(() => guard.transform(misspelt), refused);
    });

    test('options that make no sense are named', async () => {
      for (const options of [
        { device: 'gpu' },
        { reasoning: 'x' },
        { strictness: 2 },
        { strictness: '0.5' },
        { onError: 'allow' },
        { model: 'rsafe-maxi' },
        { model: 7 },
      ]) {
        assert.equal(await code(open(fakeCore(), options as never)), 'bad_input', JSON.stringify(options));
      }
    });

    test('progress ends with ready and all bytes', async () => {
      const events: unknown[] = [];
      await open(fakeCore(), { onProgress: (progress) => events.push(progress) });
      assert.deepEqual(events.at(-1), { stage: 'ready', loaded: 3, total: 3 });
    });
  });
}

test('a worker that dies rejects all calls, and the next one starts another', async () => {
  const core = fakeCore(Infinity);
  const connect = sides['in a worker']!(core);
  const guard = await openGuard({ device: 'cpu' }, { reach, ownModel, connect });
  const [running, waiting] = [code(guard.check('a')), code(guard.check('b'))];
  await until(() => core.running > 0);
  FakeWorker.started.at(-1)!.die('out of luck');
  assert.deepEqual([await running, await waiting], ['crashed', 'crashed']);
  core.pieces = 3;
  assert.equal((await guard.check('c')).decision, 'allow');
  await guard.dispose();
  assert.ok(FakeWorker.started.every((worker) => !worker.alive));
});

test('a worker whose script does not load is unsupported, with a way out in the message', async () => {
  class Unserved extends EventTarget {
    constructor() {
      super();
      setImmediate(() => this.dispatchEvent(new Event('error')));
    }
    postMessage(): void {}
    terminate(): void {}
  }
  const connect: Platform['connect'] = (spec, hooks) => RemoteEngine.load(() => new Unserved(), spec, hooks);
  const opening = openGuard({}, { reach, ownModel, connect });
  await assert.rejects(opening, { code: 'unsupported', message: /worker: false/ });
});

test("a model that cannot be read gives its own error, not the core's", async () => {
  const broken = async () => ({
    ...fakeModel(),
    read: () => Promise.reject(new GuardError('integrity', 'not the promised file')),
  });
  const connect: Platform['connect'] = (spec, hooks) => LocalEngine.load(fakeParts(fakeCore(), broken), spec, hooks);
  await assert.rejects(openGuard({ device: 'cpu' }, { reach, ownModel, connect }), { code: 'integrity' });
});
