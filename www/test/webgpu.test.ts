/** The WebGPU build on a GPU in software: it must judge as the cpu build does, which is the oracle. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { Verdict } from '../src/types.ts';
import { launch, librarySite, openPage, type Complaints } from './support/browser.ts';
import { agree, conversations } from './support/golden.ts';
import { withoutWebgpu } from './support/paths.ts';
import { STRICT_CSP, type Site } from './support/server.ts';

/** Scores are sigmoids of sums in f32 whose order differs between the devices. */
const TOLERANCE = 2e-3;
const skip = withoutWebgpu();
const options = { skip, timeout: 900_000 };
if (skip) console.log(`webgpu tests are skipped: ${skip}`);

let browser: Browser;
let site: Site;
let page: Page;
let complaints: Complaints;

before(async () => {
  if (skip) return;
  browser = await launch({ webgpu: true });
  site = await librarySite({ 'content-security-policy': STRICT_CSP });
  ({ page, complaints } = await openPage(browser, site));
});

after(async () => {
  await browser?.close();
  await site?.close();
});

test('the browser has an adapter that isSupported finds', options, async () => {
  const support = await page.evaluate(() => rsafe.isSupported());
  assert.equal(support.webgpu, true, support.reasons.join('; '));
});

/** Enough to see a difference; each takes a GPU in software half a minute where the machine is busy. */
const few = conversations.slice(0, 4);

test('a webgpu guard names its adapter and judges golden conversations as the cpu does', options, async () => {
  const judge = (device: 'cpu' | 'webgpu') =>
    page.evaluate(
      async ({ device, conversations }) => {
        const guard = await rsafe.createGuard({ device, webgpu, reasoning: 'never' });
        const verdicts: Verdict[] = [];
        for (const { messages, policy } of conversations) {
          verdicts.push(await guard.check(messages, policy === undefined ? {} : { policy }));
        }
        const { info } = guard;
        await guard.dispose();
        return { verdicts, info };
      },
      { device, conversations: few },
    );
  const cpu = await judge('cpu');
  const gpu = await judge('webgpu');
  assert.deepEqual([cpu.info.device, gpu.info.device], ['cpu', 'webgpu']);
  assert.ok(gpu.info.adapter, 'info names the adapter');
  few.forEach(({ id }, i) => agree(id, gpu.verdicts[i]!, cpu.verdicts[i]!, TOLERANCE));
});

test('reasoning streams from the GPU and is what the cpu writes', options, async () => {
  const { written, pieces } = await page.evaluate(
    async ({ messages }) => {
      const written: (string | null)[] = [];
      let pieces = '';
      for (const device of ['cpu', 'webgpu'] as const) {
        const guard = await rsafe.createGuard({ device, webgpu, reasoning: 'always' });
        const stream = guard.stream(messages);
        pieces = '';
        for await (const event of stream) if (event.type === 'reasoning') pieces += event.text;
        written.push((await stream.verdict).reasoning);
        await guard.dispose();
      }
      return { written, pieces };
    },
    conversations.find(({ id }) => id === 'lock')!,
  );
  assert.equal(written[1], written[0]);
  assert.equal(pieces, written[1]);
});

test('nothing of this broke the content security policy', { skip }, () => {
  assert.deepEqual(complaints.errors, []);
});
