/** The built package in Node: it judges in a thread of its own, and leaves the caller's alone. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { after, before, describe, test } from 'node:test';
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type * as Library from '../src/index.ts';
import type * as Entry from '../src/node.ts';
import type { Guard } from '../src/types.ts';
import { lyingBundle, miniBundle } from './support/bundle.ts';

const entry = fileURLToPath(new URL('../dist/node.js', import.meta.url));
const built = existsSync(entry) && existsSync(fileURLToPath(new URL('../dist/wasm/cpu.wasm', import.meta.url)));
const LONG = 'The cat sat on the mat and looked at the moon over the sea. '.repeat(30);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a guard in Node', { skip: built ? false : 'dist/ is not built: run `npm run build`' }, () => {
  let rsafe: typeof Library;
  let guard: Guard;
  let here: Guard;

  before(async () => {
    // Compiles only while Node's entry offers what the types of the package, those of the browser's, promise.
    rsafe = (await import(pathToFileURL(entry).href)) as typeof Entry;
    guard = await rsafe.createGuard({ reasoning: 'never' });
    here = await rsafe.createGuard({ reasoning: 'never', worker: false });
  });
  after(async () => {
    await guard?.dispose();
    await here?.dispose();
  });

  /** The longest gap of this thread's event loop while `work` is done, in milliseconds; of several tries the best, because
   * a busy machine adds gaps of its own. */
  async function gap(work: () => Promise<unknown>, tries = 5): Promise<number> {
    let least = Infinity;
    for (let i = 0; i < tries; i++) {
      const histogram = monitorEventLoopDelay({ resolution: 1 });
      histogram.enable();
      await work();
      histogram.disable();
      least = Math.min(least, histogram.max / 1e6);
    }
    return least;
  }

  test('a long text leaves no gap above 20 ms in the caller’s event loop, and gets the same verdict', async (t) => {
    const apart = await gap(() => guard.check(LONG));
    const onThis = await gap(() => here.check(LONG), 2);
    t.diagnostic(`longest gap: ${apart.toFixed(1)} ms, on the calling thread ${onThis.toFixed(1)} ms`);
    assert.ok(apart < 20, `${apart} ms`);
    assert.ok(onThis > apart, 'the measure sees work on the calling thread');
    const [one, other] = [await guard.check(LONG), await here.check(LONG)];
    assert.deepEqual(one.categories, other.categories);
  });

  for (const worker of [true, false]) {
    test(`twelve checks with a time limit all end in time as aborted, and a timer fires meanwhile (worker: ${worker})`, async (t) => {
      const judge = worker ? guard : here;
      await judge.check('warm');
      const from = performance.now();
      let fired = Infinity;
      setTimeout(() => (fired = performance.now() - from), 10);
      const ends = await Promise.all(
        Array.from({ length: 12 }, () =>
          judge.check(LONG, { signal: AbortSignal.timeout(20) }).then(
            () => 'judged',
            (error: { code: string }) => error.code,
          ),
        ),
      );
      const took = performance.now() - from;
      t.diagnostic(`the timer fired after ${fired.toFixed(0)} ms, all had ended after ${took.toFixed(0)} ms`);
      assert.deepEqual(new Set(ends), new Set(['aborted']));
      // A step on the calling thread takes some 50 ms, more on a busy machine; all twelve took 2,400.
      assert.ok(took < (worker ? 250 : 600) && fired < (worker ? 200 : 500), `${took} ms, timer ${fired} ms`);
      assert.equal((await judge.check('How do I bake bread?')).flagged, false);
    });
  }

  test('short checks are not kept waiting by a long one', async () => {
    const ended: string[] = [];
    const long = guard.check(LONG.repeat(4)).then(() => ended.push('long'));
    await pause(50);
    await Promise.all(
      [1, 2, 3, 4, 5].map((n) => guard.check(`How do I bake bread number ${n}?`).then(() => ended.push('short'))),
    );
    await long;
    assert.equal(ended.at(-1), 'long');
  });

  test('a growing text lets others pass, too', async () => {
    const ended: string[] = [];
    const { readable, writable } = guard.transform();
    const writer = writable.getWriter();
    const long = writer.write(LONG.repeat(2)).then(() => writer.close());
    const read = readable.pipeTo(new WritableStream()).then(() => ended.push('long'));
    await pause(50);
    await guard.check('How do I bake bread?').then(() => ended.push('short'));
    await Promise.all([long, read]);
    assert.deepEqual(ended, ['short', 'long']);
  });

  test('work beyond the budget is refused, with both numbers and what to do', async () => {
    const frugal = await rsafe.createGuard({ maxWork: 500, reasoning: 'never' });
    await assert.rejects(frugal.check(LONG), { code: 'context_length', message: /tokens .* budget is 500.*max_work/ });
    assert.equal((await frugal.check('How do I bake bread?')).flagged, false);
    await frugal.dispose();
    await assert.rejects(rsafe.createGuard({ maxWork: 0 }), { code: 'bad_input' });
  });

  for (const [what, code] of [
    ['that is idle keeps no process alive', "await guard.check('Hello');"],
    ['that was disposed of keeps no process alive', "await guard.check('Hello'); await guard.dispose();"],
  ] as const) {
    test(`a guard ${what}, and one at work does`, () => {
      const script = `import { createGuard } from ${JSON.stringify(pathToFileURL(entry).href)};
        const guard = await createGuard(); ${code} console.log('judged');`;
      const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        encoding: 'utf8',
        timeout: 60_000,
      });
      assert.deepEqual([run.status, run.stdout.trim(), run.stderr], [0, 'judged', '']);
    });
  }

  test('a model may come as files', async () => {
    const folder = new URL('../mini/model/', import.meta.url);
    const { readdir, readFile } = await import('node:fs/promises');
    const files = (await readdir(folder)).map(
      async (name) => new File([new Uint8Array(await readFile(new URL(name, folder)))], name),
    );
    const own = await rsafe.createGuard({ model: await Promise.all(files), reasoning: 'never' });
    assert.equal(own.info.source, 'files');
    assert.equal((await own.check('How do I bake bread?')).flagged, false);
    await own.dispose();
  });

  test('a model without a self-test that counts loads only where that is allowed, and info says so', async () => {
    const whole = await rsafe.createGuard();
    const { selfTest } = whole.info;
    assert.ok(selfTest && selfTest.values > 100 && selfTest.difference <= selfTest.tolerance);
    await whole.dispose();
    const { manifest, files } = miniBundle();
    const opening = (self_test: unknown, allowUntested?: boolean) => {
      const named = [['manifest.json', Buffer.from(JSON.stringify({ ...manifest, self_test }))] as const, ...files];
      const model = named.map(([name, bytes]) => new File([new Uint8Array(bytes)], name));
      return rsafe.createGuard({ model, ...(allowUntested !== undefined && { allowUntested }) });
    };
    const probabilities = { ids: [1], expected: [{ index: 0, value: 0.5 }], tolerance: 0.05 };
    for (const says of [undefined, probabilities, { ...manifest.self_test, tolerance: 1 }]) {
      await assert.rejects(opening(says), { code: 'bad_model', message: /self_test.*--renew/ });
      const allowed = await opening(says, true);
      assert.equal(allowed.info.selfTest, null);
      await allowed.dispose();
    }
    const { manifest: lying } = lyingBundle();
    await assert.rejects(opening(lying.self_test, true), { code: 'self_test' });
  });
});
