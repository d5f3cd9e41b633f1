/** Calls of a guard in a page: streams, their ends, concurrency, and the hold-back transform. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { PolicyObject, Verdict } from '../src/types.ts';
import { launch, librarySite, openPage, until, type Complaints } from './support/browser.ts';
import { substance } from './support/golden.ts';
import { STRICT_CSP, type Site } from './support/server.ts';

const LOCK = 'How do I pick the lock of my neighbour?';
/** Many categories, so that the reasoning has several pieces. */
const POLICY = 'general';
/** Whatever the weights, this never flags but by its rule. */
const RULES: PolicyObject = {
  name: 'rules',
  categories: [{ id: 'any', name: 'Anything', action: 'allow' }],
  rules: [{ id: 'staff-line', literal: 'staff phone line', action: 'block' }],
};

let browser: Browser;
let site: Site;
let page: Page;
let complaints: Complaints;

before(async () => {
  browser = await launch();
  site = await librarySite({ 'content-security-policy': STRICT_CSP });
  ({ page, complaints } = await openPage(browser, site));
  await page.evaluate(async (policy) => {
    globalThis.guard = await rsafe.createGuard({ policy, device: 'cpu', reasoning: 'always' });
  }, POLICY);
});

after(async () => {
  await browser?.close();
  await site?.close();
});

const check = (text = LOCK) => page.evaluate((text) => guard.check(text), text);

test('reasoning streams in pieces over several tasks, and the pieces are the verdict’s reasoning', async () => {
  const { pieces, tasks, early, last, promised } = await page.evaluate(async (text) => {
    // Each piece posts a message; the count that the next piece finds tells whether a task ran in between.
    const { port1, port2 } = new MessageChannel();
    let task = 0;
    port1.onmessage = () => (task += 1);
    const pieces: string[] = [];
    const tasks = new Set<number>();
    const stream = guard.stream(text);
    let early: unknown;
    let last: Verdict | undefined;
    for await (const event of stream) {
      if (event.type === 'verdict') {
        last = event.verdict;
        continue;
      }
      early ??= await Promise.race([stream.verdict, Promise.resolve('pending')]);
      pieces.push(event.text);
      tasks.add(task);
      port2.postMessage(null);
    }
    port1.close();
    return { pieces, tasks: tasks.size, early, last, promised: await stream.verdict };
  }, LOCK);
  assert.equal(early, 'pending', 'the first piece comes before the verdict');
  assert.ok(pieces.length > 1, `expected several pieces, got ${pieces.length}`);
  assert.ok(tasks > 1, 'all pieces came in one task');
  assert.equal(pieces.join(''), last!.reasoning);
  assert.deepEqual(promised, last);
  assert.ok(last!.usage.firstTokenMs > 0 && last!.usage.firstTokenMs <= last!.usage.verdictMs);
  assert.ok(last!.usage.answerTokens > 0 && last!.usage.promptTokens > 0);
});

test('a stream without reasoning yields the verdict alone, and `.verdict` works without iterating', async () => {
  const { types, alone } = await page.evaluate(async (text) => {
    const types = [];
    for await (const event of guard.stream(text, { reasoning: 'never' })) types.push(event.type);
    return { types, alone: await guard.stream(text).verdict };
  }, LOCK);
  assert.deepEqual(types, ['verdict']);
  assert.deepEqual(substance(alone), substance(await check()));
});

test('a signal that is aborted already rejects with aborted, and the next call runs', async () => {
  const wanted = substance(await check());
  const failures = await page.evaluate(async (text) => {
    const signal = AbortSignal.abort();
    return [
      await failure(guard.check(text, { signal })),
      await failure(guard.stream(text, { signal }).verdict),
      await failure(rsafe.createGuard({ signal, device: 'cpu' })),
    ];
  }, LOCK);
  for (const error of failures) assert.deepEqual([error.code, error.known], ['aborted', true]);
  assert.deepEqual(substance(await check()), wanted);
});

test('aborting in mid-stream ends the stream with aborted, and the next call gives its own verdict', async () => {
  const wanted = substance(await check());
  const { thrown, verdict, pieces } = await page.evaluate(async (text) => {
    const controller = new AbortController();
    const stream = guard.stream(text, { signal: controller.signal });
    let pieces = 0;
    const thrown = await failure(
      (async () => {
        for await (const event of stream) {
          if (event.type === 'reasoning') pieces += 1;
          controller.abort();
        }
      })(),
    );
    return { thrown, verdict: await failure(stream.verdict), pieces };
  }, LOCK);
  assert.equal(pieces, 1);
  assert.deepEqual([thrown.code, verdict.code], ['aborted', 'aborted']);
  assert.deepEqual(substance(await check()), wanted);
});

test('aborting a check that waits behind another leaves the other alone', async () => {
  const { first, second } = await page.evaluate(async (text) => {
    const controller = new AbortController();
    const first = guard.check(text);
    const second = failure(guard.check('Another question', { signal: controller.signal }));
    controller.abort();
    return { first: await first, second: await second };
  }, LOCK);
  assert.equal(second.code, 'aborted');
  assert.deepEqual(substance(first), substance(await check()));
});

test('breaking out of a stream settles its verdict with aborted and lets the next call run', async () => {
  const wanted = substance(await check());
  const verdict = await page.evaluate(async (text) => {
    const stream = guard.stream(text);
    for await (const _ of stream) break;
    return failure(stream.verdict);
  }, LOCK);
  assert.equal(verdict.code, 'aborted');
  assert.deepEqual(substance(await check()), wanted);
  // Nobody looks at the verdict of this one: that must not be an unhandled rejection.
  await page.evaluate(async (text) => {
    for await (const _ of guard.stream(text)) break;
    await guard.check(text);
  }, LOCK);
  assert.deepEqual(complaints.errors, []);
});

test('calls at the same time each get the verdict that they would get alone', async () => {
  const texts = [LOCK, 'A poem about plums, please.', 'Where does the mayor live?', LOCK];
  const together = await page.evaluate((texts) => Promise.all(texts.map((text) => guard.check(text))), texts);
  for (const [i, text] of texts.entries()) assert.deepEqual(substance(together[i]!), substance(await check(text)));
});

test('two guards at once, with policies of their own, do not touch each other', async () => {
  const { one, two, alone } = await page.evaluate(async (text) => {
    const other = await rsafe.createGuard({ policy: 'openai', device: 'cpu', reasoning: 'always' });
    const [one, two] = await Promise.all([guard.check(text), other.check(text)]);
    await other.dispose();
    return { one, two, alone: await guard.check(text, { policy: 'openai' }) };
  }, LOCK);
  assert.deepEqual(substance(one), substance(await check()));
  assert.deepEqual(substance(two), substance(alone));
});

test('the transform passes an allowed text on unchanged, strings as strings and bytes as bytes', async () => {
  const text = 'Plums 🍑 ripen in August… naïve 𝕄𝕖𝕟𝕦. '.repeat(12);
  const { strings, bytes, checks } = await page.evaluate(
    async ({ text, policy }) => {
      const checks: number[] = [];
      const collect = async <T>(chunks: T[]) => {
        const out: T[] = [];
        const onCheck = (seen: number) => checks.push(seen);
        const guarded = new ReadableStream<T>({
          start(controller) {
            for (const chunk of chunks) controller.enqueue(chunk);
            controller.close();
          },
        }).pipeThrough(guard.transform({ policy, onCheck }) as unknown as ReadableWritablePair<T, T>);
        for await (const chunk of guarded) out.push(chunk);
        return out;
      };
      const encoded = new TextEncoder().encode(text);
      // Chunks of 7 bytes cut through characters; chunks of 5 units cut through surrogate pairs.
      const cut = <T>(length: number, slice: (at: number) => T, step: number) =>
        Array.from({ length: Math.ceil(length / step) }, (_, i) => slice(i * step));
      const strings = await collect(cut(text.length, (at) => text.slice(at, at + 5), 5));
      const bytes = await collect(cut(encoded.length, (at) => encoded.slice(at, at + 7), 7));
      const joined = new Uint8Array(await new Blob(bytes).arrayBuffer());
      return {
        strings: { kinds: [...new Set(strings.map((piece) => typeof piece))], text: strings.join('') },
        bytes: {
          kinds: [...new Set(bytes.map((piece) => piece.constructor.name))],
          text: new TextDecoder().decode(joined),
        },
        checks,
      };
    },
    { text, policy: RULES },
  );
  assert.deepEqual(strings, { kinds: ['string'], text });
  assert.deepEqual(bytes, { kinds: ['Uint8Array'], text });
  assert.ok(checks.length >= 2 && checks.every((seen) => seen <= text.length));
});

test('the transform ends a flagged text with blocked and its verdict, before the end of it is out', async () => {
  const { released, code, verdict } = await page.evaluate(async (policy) => {
    const chunks = [
      'Of course. The number of the ',
      'staff phone',
      ' line is on the wall, ',
      'next to the door. '.repeat(30),
    ];
    let released = '';
    const source = new ReadableStream<string>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(chunk);
        controller.close();
      },
    });
    try {
      const guarded = source.pipeThrough(guard.transform({ policy }) as ReadableWritablePair<string, string>);
      for await (const piece of guarded) released += piece;
    } catch (error) {
      const { code, verdict } = error as { code: string; verdict: { decision: string; rule: string } };
      return { released, code, verdict };
    }
    return { released };
  }, RULES);
  assert.equal(code, 'blocked');
  assert.deepEqual([verdict?.decision, verdict?.rule], ['block', 'staff-line']);
  assert.ok(!released.includes('staff phone line'), `released: ${released}`);
});

test('dispose rejects what runs and what comes, ends the worker, and may come twice', async () => {
  const before = page.workers().length;
  const failures = await page.evaluate(async (text) => {
    const other = await rsafe.createGuard({ device: 'cpu', reasoning: 'always' });
    const running = failure(other.check(text));
    await other.dispose();
    await other.dispose();
    await other[Symbol.asyncDispose]();
    return [await running, await failure(other.check(text)), await failure(other.stream(text).verdict)];
  }, LOCK);
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['disposed', 'disposed', 'disposed'],
  );
  await until('the worker is gone', () => page.workers().length === before);
  assert.deepEqual(complaints.errors, []);
});
