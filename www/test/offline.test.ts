/** The demo page without a network, over torn installations, and when a new version comes. The server really goes away:
 * a browser's offline switch alone does not reach every service worker. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { serve } from '../scripts/serve.mjs';
import type { Served } from '../scripts/serve.mjs';
import { launch } from './support/browser.ts';
import { built } from './support/paths.ts';

const MODEL = 'rsafe-mini/model/model-00001.safetensors';

let browser: Browser;

before(async () => {
  built('demo/sw.js');
  browser = await launch();
});

after(() => browser?.close());

/** A copy of the built page on a server of its own, and a browser that has never seen it. */
async function copy(): Promise<{
  root: string;
  site: Served;
  context: BrowserContext;
  page: Page;
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const root = mkdtempSync(join(tmpdir(), 'rsafe-demo-'));
  cpSync(built('demo'), root, { recursive: true });
  const site = await serve({ root });
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(180_000);
  const dispose = async () => {
    await context.close();
    await site.close();
    rmSync(root, { recursive: true });
  };
  return { root, site, context, page, [Symbol.asyncDispose]: dispose };
}

async function judges(page: Page): Promise<void> {
  await page.waitForSelector('#model-state[data-state=ready]');
  await page.getByRole('button', { name: 'A complaint' }).click();
  await page.locator('#verdict[aria-busy=false] .decision .badge:not(.waiting)').waitFor();
}

const stored = (page: Page) => page.getByText('Works offline').waitFor();

test('after the first visit the page loads, judges and shows its documents without a network', async () => {
  await using copied = await copy();
  const { site, context, page } = copied;
  await page.goto(site.url);
  await judges(page);
  await stored(page);
  await context.setOffline(true);
  await page.locator('#offline-state').getByText('Offline', { exact: true }).waitFor();
  await site.close();
  await page.reload();
  await judges(page);
  await page.getByRole('link', { name: 'Examples', exact: true }).click();
  await page.getByText('# A page for each bundler').waitFor();
});

test('a torn installation leaves a working page, and the next visit completes it', async () => {
  await using copied = await copy();
  const { root, site, page } = copied;
  // The last file of the list is missing, as if the connection had broken before it.
  renameSync(join(root, 'style.css'), join(root, 'away.css'));
  await page.goto(site.url);
  await judges(page);
  const settled = () =>
    page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.active?.state ?? 'none');
  assert.equal(await settled(), 'none', 'what is torn never becomes active');
  await page.waitForFunction(() =>
    caches
      .open('rsafe-page')
      .then((store) => store.keys())
      .then((keys) => keys.some(({ url }) => url.includes('model-00001'))),
  );

  renameSync(join(root, 'away.css'), join(root, 'style.css'));
  // What the torn installation stored is not fetched again by the worker.
  await page.reload();
  await judges(page);
  await stored(page);
  await site.close();
  await page.reload();
  await judges(page);
});

test('a new version is offered, fetches only what changed, and takes over whole', async () => {
  await using copied = await copy();
  const { root, site, page } = copied;
  await page.goto(site.url);
  await judges(page);
  await stored(page);

  const hash = (content: string) => createHash('sha256').update(content).digest('hex');
  const old = readFileSync(join(root, 'style.css'), 'utf8');
  const changed = `${old}\n:root { --version: two; }\n`;
  writeFileSync(join(root, 'style.css'), changed);
  writeFileSync(join(root, 'sw.js'), readFileSync(join(root, 'sw.js'), 'utf8').replace(hash(old), hash(changed)));
  rmSync(join(root, MODEL));

  const version = () => page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue('--version'));
  await page.reload();
  await judges(page);
  assert.equal(await version(), '', 'the old version serves until it is told to go');
  await page.getByRole('button', { name: 'New version: reload' }).click();
  await page.waitForFunction(() => getComputedStyle(document.documentElement).getPropertyValue('--version') === 'two');
  await judges(page);
});

test('what was cleared is stored again on the next visit', async () => {
  await using copied = await copy();
  const { site, page } = copied;
  await page.goto(site.url);
  await stored(page);
  await page.locator('#clear-storage:enabled').click();
  await page.getByText('Nothing is kept on this machine.').waitFor();
  assert.ok(await page.locator('#offline-state').isHidden());
  await page.reload();
  await stored(page);
  await site.close();
  await page.reload();
  await judges(page);
});
