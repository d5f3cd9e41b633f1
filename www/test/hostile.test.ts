/** The real worker under messages that nobody should send it: before it has a model and after. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { transformSync } from 'esbuild';
import type { Browser } from 'playwright-core';
import { launch, librarySite, openPage } from './support/browser.ts';
import { www } from './support/paths.ts';
import { STRICT_CSP, type Site } from './support/server.ts';
import type * as Hostile from './support/hostile.ts';

let browser: Browser;
let site: Site;

before(async () => {
  browser = await launch();
  site = await librarySite({ 'content-security-policy': STRICT_CSP });
  const source = readFileSync(join(www, 'test/support/hostile.ts'), 'utf8');
  site.put('/hostile.js', transformSync(source, { loader: 'ts', format: 'esm', target: 'es2022' }).code);
});

after(async () => {
  await browser?.close();
  await site?.close();
});

test('thousands of hostile messages, before a model and after, leave the worker without an uncaught error and able to judge', async () => {
  const { page, complaints } = await openPage(browser, site);
  const seen = await page.evaluate(async (address) => {
    const { almostRight, random, RIGHT, value } = (await import(address)) as typeof Hostile;
    const next = random(17);
    const worker = new Worker('/rsafe/worker.js', { type: 'module' });
    const errors: string[] = [];
    worker.addEventListener('error', ({ message }) => errors.push(message || 'without a message'));
    const answers = new Map<unknown, { type: string; value?: any; error?: { name: string; code: string } }>();
    const waiting = new Map<unknown, () => void>();
    const unexpected: string[] = [];
    worker.addEventListener('message', ({ data }) => {
      if (data.type === 'trapped') unexpected.push(data.why);
      if (data.type !== 'done' && data.type !== 'failed') return;
      if (data.type === 'failed' && data.error.name !== 'GuardError') unexpected.push(JSON.stringify(data));
      answers.set(data.id, data);
      waiting.get(data.id)?.();
    });
    let calls = 1_000_000;
    const call = async (message: object) => {
      const id = ++calls;
      const answered = new Promise<void>((resolve) => waiting.set(id, resolve));
      worker.postMessage({ ...message, id });
      await answered;
      const answer = answers.get(id)!;
      return answer.type === 'failed' ? answer.error!.code : answer.value;
    };
    const attack = async () => {
      const sent: unknown[] = [null, undefined, 5, 'load', [], ...Array.from({ length: 5000 }, () => value(next))];
      for (const message of sent) worker.postMessage(message);
      const codes = new Set<unknown>();
      for (const { message } of almostRight(next)) codes.add(await call(message));
      return [...codes];
    };

    const refused = [await attack()];
    const early = new Set<unknown>();
    for (const message of RIGHT.slice(1)) early.add(await call(message));
    const spec = {
      model: { kind: 'address', address: new URL('/rsafe-mini/model/', location.href).href },
      device: 'cpu',
      onError: 'block',
      cache: false,
      offline: false,
      allowUntested: false,
    };
    const loaded = await call({ type: 'load', spec });
    refused.push(await attack());
    const again = await call({ type: 'load', spec });
    const request = { messages: [{ role: 'user', content: 'How do I pick a lock?' }], reasoning: 'never' };
    const verdict = await call({ type: 'check', request, events: false });
    worker.terminate();
    return { refused, early: [...early], model: loaded.info?.model, again, score: verdict.score, errors, unexpected };
  }, '/hostile.js');
  await page.close();
  assert.deepEqual(seen.refused, [['bad_input'], ['bad_input']]);
  assert.deepEqual(seen.early, ['bad_input']);
  assert.equal(seen.model, 'rsafe-mini');
  assert.equal(seen.again, 'bad_input');
  assert.ok(seen.score > 0 && seen.score < 1, `a check after all this gave the score ${seen.score}`);
  assert.deepEqual([seen.errors, seen.unexpected, complaints.errors], [[], [], []]);
});
