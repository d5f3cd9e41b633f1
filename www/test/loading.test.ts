/** A model from an address or from files: progress, integrity, and what happens when a download goes wrong. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import type { Progress } from '../src/types.ts';
import { launch, librarySite, openPage, until, type Complaints } from './support/browser.ts';
import { asUploads, lyingBundle, miniBundle, serveBundle, shardName, shardedBundle, totalBytes } from './support/bundle.ts';
import { substance } from './support/golden.ts';
import type { Site } from './support/server.ts';

const LOCK = 'How do I pick a lock?';
const SECOND = `/bundle/${shardName(2)}`;
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

/** Loads a guard in the page, keeps it as `guard`, and gives its progress and its verdict on one text. */
const load = (options: { model?: string; cache?: boolean; offline?: boolean } = {}) =>
  page.evaluate(
    async ({ options, text }) => {
      const events: Progress[] = [];
      globalThis.guard = await rsafe.createGuard({ device: 'cpu', ...options, onProgress: (event) => events.push({ ...event }) });
      return { events, info: guard.info, verdict: await guard.check(text, { reasoning: 'always' }) };
    },
    { options, text: LOCK },
  );

const failing = (options: { model?: string; offline?: boolean }) =>
  page.evaluate((options) => failure(rsafe.createGuard({ device: 'cpu', ...options })), options);

const shardRequests = () => site.seen.filter(({ path }) => path.startsWith('/bundle/') && path.endsWith('.safetensors'));

function assertProgress(events: Progress[], total: number): void {
  const stages = ['wasm', 'model', 'self-test', 'ready'];
  events.reduce((last, event) => {
    assert.ok(event.loaded >= last.loaded, `loaded fell from ${last.loaded} to ${event.loaded}`);
    assert.ok(event.loaded <= total, `${event.loaded} of ${total} bytes`);
    if (last.total > 0) assert.equal(event.total, last.total, 'total changed');
    assert.ok(stages.indexOf(event.stage) >= stages.indexOf(last.stage), `${event.stage} after ${last.stage}`);
    return event;
  }, { stage: 'wasm', loaded: 0, total: 0 } as Progress);
  const { stage, loaded, total: last } = events.at(-1)!;
  assert.deepEqual({ stage, loaded, last }, { stage: 'ready', loaded: total, last: total });
  assert.equal(events.filter((event) => event.stage === 'ready').length, 1);
}

test('progress never falls, keeps its total and ends complete: from the package, an address and the cache', async () => {
  const own = await load();
  assertProgress(own.events, totalBytes(miniBundle()));
  assert.equal(own.info.source, 'network');
  const far = await load({ model: site.url('/bundle/') });
  assertProgress(far.events, totalBytes(bundle));
  const near = await load({ model: site.url('/bundle/') });
  assertProgress(near.events, totalBytes(bundle));
  // Events are throttled, so a quick load may have none that names a file; those that do must not be wrong.
  assert.ok(near.events.every(({ file, cached }) => file === undefined || cached === true), 'a cached load says so');
  assert.ok(far.events.every(({ cached }) => cached !== true), 'a download says so');
});

test('a bundle in shards from an address judges as the same weights in the package do', async () => {
  const own = await load();
  for (const model of ['/bundle/', '/bundle', '/bundle/manifest.json', site.url('/bundle/')]) {
    const far = await load({ model, cache: false });
    assert.deepEqual(substance(far.verdict), substance(own.verdict), model);
    assert.deepEqual([far.info.source, far.info.bytes], ['network', totalBytes(bundle)], model);
  }
});

test('files from an input are a bundle, and the network is left alone', async () => {
  const own = await load();
  site.seen.length = 0;
  await page.setInputFiles('input[type=file]', asUploads(bundle));
  const { info, verdict } = await page.evaluate(async (text) => {
    const files = [...document.querySelector<HTMLInputElement>('input[type=file]')!.files!];
    const guard = await rsafe.createGuard({ device: 'cpu', model: files });
    return { info: guard.info, verdict: await guard.check(text, { reasoning: 'always' }) };
  }, LOCK);
  assert.equal(info.source, 'files');
  assert.deepEqual(substance(verdict), substance(own.verdict));
  assert.deepEqual(site.seen.filter(({ path }) => /manifest|tokenizer|safetensors/.test(path)), []);

  await page.setInputFiles('input[type=file]', asUploads(bundle).filter(({ name }) => name !== shardName(2)));
  const missing = await page.evaluate(() =>
    failure(rsafe.createGuard({ device: 'cpu', model: [...document.querySelector<HTMLInputElement>('input[type=file]')!.files!] })),
  );
  assert.equal(missing.code, 'bad_model');
  assert.ok(missing.message.includes(shardName(2)), `the message names the missing file: ${missing.message}`);
});

test('the second load of a bundle takes its files from this machine, in another page too', async () => {
  const first = await load({ model: '/bundle/' });
  assert.deepEqual(await page.evaluate(() => rsafe.cacheStatus()), [
    { model: site.url('/bundle/'), bytes: totalBytes(bundle), complete: true },
  ]);
  await page.close();
  site.seen.length = 0;
  ({ page, complaints } = await openPage(context, site));
  const second = await load({ model: '/bundle/' });
  assert.deepEqual(shardRequests(), []);
  assert.equal(second.info.source, 'cache');
  assert.deepEqual(substance(second.verdict), substance(first.verdict));
});

test('offline: a cached bundle loads without a request, and what is not cached is an error without one', async () => {
  const asked = () => site.seen.filter(({ path }) => path.startsWith('/bundle/'));
  const miss = await failing({ model: '/bundle/', offline: true });
  assert.equal(miss.code, 'network');
  assert.match(miss.message, /offline/i);
  assert.deepEqual(asked(), []);
  await load({ model: '/bundle/' });
  site.seen.length = 0;
  const { info } = await load({ model: '/bundle/', offline: true });
  assert.equal(info.source, 'cache');
  assert.deepEqual(asked(), []);
});

test('cache: false keeps nothing, clearCache forgets one bundle or all', async () => {
  const status = () => page.evaluate(async () => (await rsafe.cacheStatus()).map(({ model }) => model).sort());
  await load({ model: '/bundle/', cache: false });
  assert.deepEqual(await status(), []);
  serveBundle(site, '/other/', bundle);
  await load({ model: '/bundle/' });
  await load({ model: '/other/' });
  assert.deepEqual(await status(), [site.url('/bundle/'), site.url('/other/')]);
  await page.evaluate((model) => rsafe.clearCache(model), site.url('/bundle/'));
  assert.deepEqual(await status(), [site.url('/other/')]);
  await page.evaluate(() => rsafe.clearCache());
  assert.deepEqual(await status(), []);
  site.seen.length = 0;
  await load({ model: '/other/' });
  assert.ok(site.seen.some(({ path }) => path === `/other/${shardName(1)}`), 'what was forgotten is downloaded again');
});

test('a torn download goes on where it was torn', async () => {
  const after = 100_000;
  site.trouble(SECOND, { kind: 'tear', after });
  const { events } = await load({ model: '/bundle/' });
  assertProgress(events, totalBytes(bundle));
  const [first, second, ...rest] = site.asked(SECOND);
  assert.deepEqual(rest, []);
  assert.equal(first!.range, undefined);
  const start = Number(/^bytes=(\d+)-/.exec(second!.range ?? '')?.[1]);
  assert.ok(start > 0 && start <= after, `expected a range that starts in what arrived, got ${second!.range}`);
});

test('a torn download from a server without ranges starts again', async () => {
  site.trouble(SECOND, { kind: 'tear', after: 100_000 });
  site.trouble(SECOND, { kind: 'no-range' });
  const { events } = await load({ model: '/bundle/' });
  assertProgress(events, totalBytes(bundle));
});

test('a download that tears each time is a network error that may be tried again, and then goes on', async () => {
  site.trouble(SECOND, { kind: 'tear', after: 1000 }, 50);
  const error = await failing({ model: '/bundle/' });
  assert.deepEqual([error.code, error.retryable, error.known], ['network', true, true]);
  site.reset();
  await load({ model: '/bundle/' });
  assert.equal(site.asked(`/bundle/${shardName(1)}`).length, 0, 'the shard that was complete is not downloaded again');
});

test('a corrupt shard is fetched once more', async () => {
  site.trouble(SECOND, { kind: 'corrupt', at: 5000 });
  const { events } = await load({ model: '/bundle/' });
  assertProgress(events, totalBytes(bundle));
  assert.equal(site.asked(SECOND).length, 2);
});

test('a shard that stays corrupt is an integrity error that names it, and is not kept', async () => {
  site.trouble(SECOND, { kind: 'corrupt', at: 5000 }, Infinity);
  const error = await failing({ model: '/bundle/' });
  assert.deepEqual([error.code, error.known], ['integrity', true]);
  assert.ok(error.message.includes(shardName(2)), error.message);
  assert.equal(site.asked(SECOND).length, 2);
  assert.ok((await page.evaluate(() => rsafe.cacheStatus())).every(({ complete }) => !complete));
  site.reset();
  await load({ model: '/bundle/' });
});

test('a bundle that changed at its address is not mixed with its cached past', async () => {
  const first = await load({ model: '/bundle/' });
  serveBundle(site, '/bundle/', shardedBundle(2));
  const second = await load({ model: '/bundle/' });
  assert.equal(second.info.bytes, totalBytes(shardedBundle(2)));
  assert.deepEqual(substance(second.verdict), substance(first.verdict));
});

test('without room, loading goes on in memory with one warning', async () => {
  const session = await context.newCDPSession(page);
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url('/')).origin, quotaSize: 2_000_000 });
  complaints.warnings.length = 0;
  const { info } = await load({ model: '/bundle/' });
  assert.equal(info.source, 'network');
  assert.equal(complaints.warnings.length, 1, complaints.warnings.join('\n'));
  assert.match(complaints.warnings[0]!, /rsafe/);
  assert.ok((await page.evaluate(() => rsafe.cacheStatus())).every(({ complete }) => !complete));
});

test('aborting a load ends its download with aborted, and the next load works', async () => {
  site.trouble(SECOND, { kind: 'hold', after: 1000 });
  const held = page.evaluate(() => {
    const controller = new AbortController();
    Object.assign(globalThis, { stop: () => controller.abort() });
    return failure(rsafe.createGuard({ device: 'cpu', model: '/bundle/', signal: controller.signal }));
  });
  await until('the second shard is asked for', () => site.asked(SECOND).length > 0);
  await page.evaluate(() => (globalThis as unknown as { stop: () => void }).stop());
  assert.deepEqual(await held.then(({ code, known }) => [code, known]), ['aborted', true]);
  await site.asked(SECOND)[0]!.closed;
  await load({ model: '/bundle/' });
});

test('what is no bundle says what was expected, and where', async () => {
  site.put('/page/manifest.json', '<!doctype html><title>Not found</title>');
  site.put('/future/manifest.json', JSON.stringify({ ...bundle.manifest, version: 2 }));
  serveBundle(site, '/lying/', lyingBundle());
  const [missing, html, future, lying] = [
    await failing({ model: '/nowhere/' }),
    await failing({ model: '/page/' }),
    await failing({ model: '/future/' }),
    await failing({ model: '/lying/' }),
  ];
  assert.deepEqual(
    [missing, html, future, lying].map(({ code }) => code),
    ['network', 'bad_model', 'bad_model', 'self_test'],
  );
  assert.match(missing.message, /nowhere.*404|404.*nowhere/);
  assert.match(future.message, /version/);
});
