/** A model from an address or from files: progress, integrity, and what happens when a download goes wrong. */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launch, librarySite, openPage, until } from './support/browser.ts';
import {
  type Bundle,
  lyingBundle,
  miniBundle,
  serveBundle,
  shardName,
  shardedBundle,
  totalBytes,
  writeBundle,
} from './support/bundle.ts';
import { substance } from './support/golden.ts';
import { asked, assertProgress, failing, load } from './support/loads.ts';
import type { Site } from './support/server.ts';

const SECOND = `/bundle/${shardName(2)}`;
const bundle = shardedBundle();

let browser: Browser;
let site: Site;
/** Of its own for each test, and so is its storage. */
let context: BrowserContext;
let page: Page;

before(async () => {
  browser = await launch();
  site = await librarySite();
});

beforeEach(async () => {
  site.reset();
  serveBundle(site, '/bundle/', bundle);
  context = await browser.newContext();
  ({ page } = await openPage(context, site));
});

afterEach(() => context?.close());

after(async () => {
  await browser?.close();
  await site?.close();
});

test('progress never falls, keeps its total and ends complete: from the package, an address and the cache', async () => {
  const own = await load(page);
  assertProgress(own.events, totalBytes(miniBundle()));
  assert.equal(own.info.source, 'network');
  const far = await load(page, { model: site.url('/bundle/') });
  assertProgress(far.events, totalBytes(bundle));
  const near = await load(page, { model: site.url('/bundle/') });
  assertProgress(near.events, totalBytes(bundle));
  // Events are throttled, so a quick load may have none that names a file; those that do must not be wrong.
  assert.ok(
    near.events.every(({ file, cached }) => file === undefined || cached === true),
    'a cached load says so',
  );
  assert.ok(
    far.events.every(({ cached }) => cached !== true),
    'a download says so',
  );
});

test('a bundle in shards from an address judges as the same weights in the package do', async () => {
  const own = await load(page);
  for (const model of ['/bundle/', '/bundle', '/bundle/manifest.json', site.url('/bundle/')]) {
    const far = await load(page, { model, cache: false });
    assert.deepEqual(substance(far.verdict), substance(own.verdict), model);
    assert.deepEqual([far.info.source, far.info.bytes], ['network', totalBytes(bundle)], model);
  }
});

test('files from an input are a bundle, and the network is left alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rsafe-bundle-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const paths = writeBundle(folder, bundle);
  const own = await load(page);
  site.seen.length = 0;
  await page.setInputFiles('input[type=file]', paths);
  const { info, verdict } = await page.evaluate(async () => {
    const files = [...document.querySelector<HTMLInputElement>('input[type=file]')!.files!];
    const guard = await rsafe.createGuard({ device: 'cpu', model: files });
    return { info: guard.info, verdict: await guard.check('How do I pick a lock?', { reasoning: 'always' }) };
  });
  assert.equal(info.source, 'files');
  assert.deepEqual(substance(verdict), substance(own.verdict));
  assert.deepEqual(asked(site, '/bundle/'), []);

  await page.setInputFiles(
    'input[type=file]',
    paths.filter((path) => !path.endsWith(shardName(2))),
  );
  const missing = await page.evaluate(() =>
    failure(
      rsafe.createGuard({
        device: 'cpu',
        model: [...document.querySelector<HTMLInputElement>('input[type=file]')!.files!],
      }),
    ),
  );
  assert.equal(missing.code, 'bad_model');
  assert.ok(missing.message.includes(shardName(2)), `the message names the missing file: ${missing.message}`);
});

/** The package's model at `/whole/`: its largest file is more than sockets and browsers buffer, so that a page has read
 * some of it when it is torn near its end. */
function serveWhole(): { bundle: Bundle; path: string; place: number } {
  const whole = miniBundle();
  const [name, bytes] = [...whole.files].reduce((a, b) => (a[1].length > b[1].length ? a : b));
  serveBundle(site, '/whole/', whole);
  return { bundle: whole, path: `/whole/${name}`, place: Math.floor(bytes.length * 0.9) };
}

test('a torn download goes on where it was torn', async () => {
  const { bundle, path, place } = serveWhole();
  site.trouble(path, { kind: 'tear', at: place });
  const { events } = await load(page, { model: '/whole/' });
  assertProgress(events, totalBytes(bundle));
  const [first, second, ...rest] = site.asked(path);
  assert.deepEqual(rest, []);
  assert.equal(first!.range, undefined);
  const start = Number(/^bytes=(\d+)-/.exec(second!.range ?? '')?.[1]);
  assert.ok(start > 0 && start <= place, `expected a range that starts in what arrived, got ${second!.range}`);
});

test('a load goes on where an earlier load, in a page that is gone, was torn', async () => {
  const { bundle, path, place } = serveWhole();
  site.trouble(path, { kind: 'tear', at: place }, Infinity);
  assert.equal((await failing(page, { model: '/whole/' })).code, 'network');
  await page.close();
  ({ page } = await openPage(context, site));
  site.reset();
  const { events } = await load(page, { model: '/whole/' });
  assertProgress(events, totalBytes(bundle));
  const [request, ...rest] = site.asked(path);
  assert.deepEqual(rest, []);
  assert.match(request!.range ?? 'no range', /^bytes=[1-9]\d*-/);
});

test('a torn download from a server without ranges starts again', async () => {
  site.trouble(SECOND, { kind: 'tear', at: 100_000 });
  site.trouble(SECOND, { kind: 'no-range' });
  const { events } = await load(page, { model: '/bundle/' });
  assertProgress(events, totalBytes(bundle));
});

test('a download that tears each time is a network error that may be tried again, and then goes on', async () => {
  site.trouble(SECOND, { kind: 'tear', at: 1000 }, 50);
  const error = await failing(page, { model: '/bundle/' });
  assert.deepEqual([error.code, error.retryable, error.known], ['network', true, true]);
  site.reset();
  await load(page, { model: '/bundle/' });
  assert.equal(site.asked(`/bundle/${shardName(1)}`).length, 0, 'the shard that was complete is not downloaded again');
});

test('a corrupt shard is fetched once more', async () => {
  site.trouble(SECOND, { kind: 'corrupt', at: 5000 });
  const { events } = await load(page, { model: '/bundle/' });
  assertProgress(events, totalBytes(bundle));
  assert.equal(site.asked(SECOND).length, 2);
});

test('a shard that stays corrupt is an integrity error that names it, and is not kept', async () => {
  site.trouble(SECOND, { kind: 'corrupt', at: 5000 }, Infinity);
  const error = await failing(page, { model: '/bundle/' });
  assert.deepEqual([error.code, error.known], ['integrity', true]);
  assert.ok(error.message.includes(shardName(2)), error.message);
  assert.equal(site.asked(SECOND).length, 2);
  assert.ok((await page.evaluate(() => rsafe.cacheStatus())).every(({ complete }) => !complete));
  site.reset();
  await load(page, { model: '/bundle/' });
});

test('aborting a load ends its download with aborted, and the next load works', async () => {
  site.trouble(SECOND, { kind: 'hold', at: 1000 });
  const held = page.evaluate(() => {
    const controller = new AbortController();
    Object.assign(globalThis, { stop: () => controller.abort() });
    return failure(rsafe.createGuard({ device: 'cpu', model: '/bundle/', signal: controller.signal }));
  });
  await until('the second shard is asked for', () => site.asked(SECOND).length > 0);
  await page.evaluate(() => (globalThis as unknown as { stop: () => void }).stop());
  assert.deepEqual(await held.then(({ code, known }) => [code, known]), ['aborted', true]);
  await site.asked(SECOND)[0]!.closed;
  await load(page, { model: '/bundle/' });
});

test('what is no bundle says what was expected, and where', async () => {
  site.put('/page/manifest.json', '<!doctype html><title>Not found</title>');
  site.put('/future/manifest.json', JSON.stringify({ ...bundle.manifest, version: 2 }));
  serveBundle(site, '/lying/', lyingBundle());
  const [missing, html, future, lying] = [
    await failing(page, { model: '/nowhere/' }),
    await failing(page, { model: '/page/' }),
    await failing(page, { model: '/future/' }),
    await failing(page, { model: '/lying/' }),
  ];
  assert.deepEqual(
    [missing, html, future, lying].map(({ code }) => code),
    ['network', 'bad_model', 'bad_model', 'self_test'],
  );
  assert.match(missing.message, /nowhere.*404|404.*nowhere/);
  assert.match(future.message, /version/);
});
