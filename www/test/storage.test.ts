/** What is kept of a model on the machine, and what happens where nothing can be kept. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { INSECURE_HOST, launch, librarySite, openPage, sabotagedPage, type Complaints } from './support/browser.ts';
import { serveBundle, shardName, shardedBundle, totalBytes } from './support/bundle.ts';
import { substance } from './support/golden.ts';
import { asked, failing, load } from './support/loads.ts';
import { withoutOpfs } from './support/sabotage.ts';
import type { Site } from './support/server.ts';

const bundle = shardedBundle();

let browser: Browser;
let site: Site;
/** Of its own for each test, and so is its storage. */
let context: BrowserContext;
let page: Page;
let complaints: Complaints;

before(async () => {
  browser = await launch();
  site = await librarySite();
});

beforeEach(async () => {
  site.reset();
  serveBundle(site, '/bundle/', bundle);
  context = await browser.newContext();
  ({ page, complaints } = await openPage(context, site));
});

afterEach(() => context?.close());

after(async () => {
  await browser?.close();
  await site?.close();
});

test('the second load of a bundle takes its files from this machine, in another page too', async () => {
  const first = await load(page, { model: '/bundle/' });
  assert.deepEqual(await page.evaluate(() => rsafe.cacheStatus()), [
    { model: site.url('/bundle/'), bytes: totalBytes(bundle), complete: true },
  ]);
  await page.close();
  site.seen.length = 0;
  ({ page, complaints } = await openPage(context, site));
  const second = await load(page, { model: '/bundle/' });
  assert.deepEqual(
    asked(site, '/bundle/').filter(({ path }) => path.endsWith('.safetensors')),
    [],
  );
  assert.equal(second.info.source, 'cache');
  assert.deepEqual(substance(second.verdict), substance(first.verdict));
});

test('offline: a cached bundle loads without a request, and what is not cached is an error without one', async () => {
  const miss = await failing(page, { model: '/bundle/', offline: true });
  assert.equal(miss.code, 'network');
  assert.match(miss.message, /offline/i);
  assert.deepEqual(asked(site, '/bundle/'), []);
  await load(page, { model: '/bundle/' });
  site.seen.length = 0;
  const { info } = await load(page, { model: '/bundle/', offline: true });
  assert.equal(info.source, 'cache');
  assert.deepEqual(asked(site, '/bundle/'), []);
});

test('cache: false keeps nothing, clearCache forgets one bundle or all', async () => {
  const status = () => page.evaluate(async () => (await rsafe.cacheStatus()).map(({ model }) => model).sort());
  await load(page, { model: '/bundle/', cache: false });
  assert.deepEqual(await status(), []);
  serveBundle(site, '/other/', bundle);
  await load(page, { model: '/bundle/' });
  await load(page, { model: '/other/' });
  assert.deepEqual(await status(), [site.url('/bundle/'), site.url('/other/')]);
  await page.evaluate((model) => rsafe.clearCache(model), site.url('/bundle/'));
  assert.deepEqual(await status(), [site.url('/other/')]);
  await page.evaluate(() => rsafe.clearCache());
  assert.deepEqual(await status(), []);
  site.seen.length = 0;
  await load(page, { model: '/other/' });
  assert.ok(site.asked(`/other/${shardName(1)}`).length > 0, 'what was forgotten is downloaded again');
});

test('a bundle that changed at its address is not mixed with its cached past', async () => {
  const first = await load(page, { model: '/bundle/' });
  serveBundle(site, '/bundle/', shardedBundle(2));
  const second = await load(page, { model: '/bundle/' });
  assert.equal(second.info.bytes, totalBytes(shardedBundle(2)));
  assert.deepEqual(substance(second.verdict), substance(first.verdict));
});

test('without room, loading goes on in memory with one warning', async () => {
  const session = await context.newCDPSession(page);
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url('/')).origin, quotaSize: 2_000_000 });
  complaints.warnings.length = 0;
  const { info } = await load(page, { model: '/bundle/' });
  assert.equal(info.source, 'network');
  assert.equal(complaints.warnings.length, 1, complaints.warnings.join('\n'));
  assert.match(complaints.warnings[0]!, /rsafe/);
  assert.ok((await page.evaluate(() => rsafe.cacheStatus())).every(({ complete }) => !complete));
});

test('without OPFS the Cache API keeps the model', async () => {
  await using sabotaged = await sabotagedPage(browser, site, withoutOpfs);
  const { page, complaints } = sabotaged;
  const first = await load(page, { model: '/bundle/' });
  const second = await load(page, { model: '/bundle/' });
  assert.deepEqual([first.info.source, second.info.source], ['network', 'cache']);
  assert.deepEqual(substance(second.verdict), substance(first.verdict));
  assert.deepEqual(
    await page.evaluate(async () => [(await caches.keys()).length > 0, (await rsafe.cacheStatus()).length]),
    [true, 1],
  );
  assert.deepEqual(complaints.warnings, []);
  await page.evaluate(() => rsafe.clearCache());
  assert.deepEqual(await page.evaluate(() => rsafe.cacheStatus()), []);
});

test('an insecure page, with no storage and no crypto of its own, loads and still verifies', async () => {
  const address = site.url('/page.html').replace('localhost', INSECURE_HOST);
  await page.goto(address);
  await page.waitForFunction(() => document.title === 'loaded');
  assert.equal(await page.evaluate(() => isSecureContext || 'subtle' in crypto), false);
  const { info } = await load(page, { model: '/bundle/' });
  assert.equal(info.source, 'network');
  site.trouble(`/bundle/${shardName(2)}`, { kind: 'corrupt', at: 5000 }, Infinity);
  assert.equal((await failing(page, { model: '/bundle/', cache: false })).code, 'integrity');
});
