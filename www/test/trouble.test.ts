/** What happens when the platform fails under a guard: traps, lost devices, devices that compute wrongly. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { launch, librarySite, sabotagedPage } from './support/browser.ts';
import { substance } from './support/golden.ts';
import { withoutWebgpu } from './support/paths.ts';
import { deafGpu, keepDevices, softwareAsGpu, trapInSecondCheck, withoutGpu, withoutSimd } from './support/sabotage.ts';
import type { Site } from './support/server.ts';

const LOCK = 'How do I pick a lock?';
/** A call that never settles is what these tests look for, so they end by themselves. */
const PATIENCE = { timeout: 400_000 };

let cpu: Browser;
let site: Site;

before(async () => {
  cpu = await launch();
  site = await librarySite();
});

after(async () => {
  await cpu?.close();
  await site?.close();
});

for (const worker of [true, false]) {
  for (const where of ['call', 'step'] as const) {
    const place = `${worker ? 'in the worker' : 'in the page'}, ${where === 'call' ? 'at once' : 'in a later step'}`;
    test(`a trap ${place}, is crashed, and the next call has a fresh instance`, PATIENCE, async () => {
      await using sabotaged = await sabotagedPage(cpu, site, trapInSecondCheck(where));
      const { first, crash, third } = await sabotaged.page.evaluate(
        async ({ worker, text }) => {
          globalThis.guard = await rsafe.createGuard({ device: 'cpu', worker, reasoning: 'always' });
          const first = await guard.check(text);
          const crash = await failure(guard.check('Another question'));
          return { first, crash, third: await guard.check(text) };
        },
        { worker, text: LOCK },
      );
      assert.deepEqual([crash.code, crash.retryable, crash.known], ['crashed', true, true]);
      assert.deepEqual(substance(third), substance(first));
    });
  }
}

test('a browser without SIMD is unsupported before a byte is downloaded', PATIENCE, async () => {
  await using sabotaged = await sabotagedPage(cpu, site, withoutSimd);
  site.seen.length = 0;
  const { support, error } = await sabotaged.page.evaluate(async () => ({
    support: await rsafe.isSupported(),
    error: await failure(rsafe.createGuard()),
  }));
  assert.deepEqual([support.supported, support.cpu], [false, false]);
  assert.match(support.reasons.join(' '), /SIMD/);
  assert.equal(error.code, 'unsupported');
  assert.deepEqual(
    site.seen.filter(({ path }) => /\.wasm$|safetensors/.test(path)),
    [],
  );
});

test('without an adapter, auto says why it takes the CPU, and webgpu is unsupported', PATIENCE, async () => {
  await using sabotaged = await sabotagedPage(cpu, site, withoutGpu);
  const { info, error, support } = await sabotaged.page.evaluate(async () => ({
    info: (await rsafe.createGuard({ webgpu })).info,
    error: await failure(rsafe.createGuard({ device: 'webgpu', webgpu })),
    support: await rsafe.isSupported(),
  }));
  assert.equal(info.device, 'cpu');
  assert.match(info.reason, /WebGPU/);
  assert.equal(error.code, 'unsupported');
  assert.equal(support.webgpu, false);
});

test('a GPU that computes wrongly fails its self-test: auto goes on with the CPU and says why', {
  ...PATIENCE,
  skip: withoutWebgpu(),
}, async () => {
  const browser = await launch({ webgpu: true });
  try {
    await using sabotaged = await sabotagedPage(browser, site, softwareAsGpu + deafGpu);
    const { info, error, verdict } = await sabotaged.page.evaluate(async (text) => {
      globalThis.guard = await rsafe.createGuard({ webgpu });
      const error = await failure(rsafe.createGuard({ device: 'webgpu', webgpu }));
      return { info: guard.info, error, verdict: await guard.check(text) };
    }, LOCK);
    assert.equal(info.device, 'cpu');
    assert.match(info.reason, /self.test/i);
    assert.equal(error.code, 'self_test');
    assert.ok(verdict.score > 0 && verdict.score < 1);
  } finally {
    await browser.close();
  }
});

test('a device that is lost in mid-check is device_lost, and the next call has a new one', {
  timeout: 600_000,
  skip: withoutWebgpu(),
}, async () => {
  const browser = await launch({ webgpu: true });
  try {
    await using sabotaged = await sabotagedPage(browser, site, keepDevices);
    const { lost, before, after, made } = await sabotaged.page.evaluate(async (text) => {
      const { devices } = globalThis as unknown as { devices: { destroy(): void }[] };
      globalThis.guard = await rsafe.createGuard({ device: 'webgpu', webgpu, worker: false });
      const before = await guard.check(text, { reasoning: 'never' });
      const made = devices.length;
      const lost = await failure(
        (async () => {
          for await (const _ of guard.stream('Another question', { reasoning: 'always' })) {
            for (const device of devices) device.destroy();
          }
        })(),
      );
      const after = await guard.check(text, { reasoning: 'never' });
      return { lost, before, after, made: [made, devices.length] };
    }, LOCK);
    assert.deepEqual([lost.code, lost.retryable, lost.known], ['device_lost', true, true]);
    assert.ok(made[1]! > made[0]!, 'the next call made a new device');
    assert.deepEqual(substance(after), substance(before));
  } finally {
    await browser.close();
  }
});
