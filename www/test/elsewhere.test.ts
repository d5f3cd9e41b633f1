/** Where the package lies on another origin than the page, and where neither `import()` nor workers are there. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { launch, openPage, page as html } from './support/browser.ts';
import { built, dist, miniFolder } from './support/paths.ts';
import { Site, STRICT_CSP } from './support/server.ts';

let browser: Browser;
let cdn: Site;

before(async () => {
  built('index.js');
  browser = await launch();
  cdn = (await Site.open({ 'access-control-allow-origin': '*' })).mount('/rsafe/', dist);
  cdn.mount('/rsafe-mini/', miniFolder).mount('/rsafe/rsafe-mini/', join(miniFolder, 'model'));
});

after(async () => {
  await browser?.close();
  await cdn?.close();
});

/** What a page's script makes its title, and the workers that run then. */
async function titled(site: Site, script: string): Promise<{ title: string; workers: string[]; errors: string[] }> {
  site.put('/page.html', html('/main.js')).put('/main.js', script);
  const { page, complaints } = await openPage(browser, site, '/page.html?own');
  await page.waitForFunction(() => document.title !== 'loading');
  const workers = page.workers().map((worker) => worker.url());
  const title = await page.title();
  await page.close();
  return { title, workers, errors: complaints.errors };
}

const JUDGE = `
  document.title = await guard.then(
    async (guard) => (await guard.check('How do I bake bread?')).decision,
    ({ code, message }) => code + ' ' + message,
  );`;

for (const [where, script] of [
  [
    'a page imports it from there',
    (at: string) => `import { createGuard } from '${at}index.js';
    import model from '${at.replace('/rsafe/', '/rsafe-mini/')}index.js';
    const guard = createGuard({ device: 'cpu', model });`,
  ],
  [
    '`assets` is there',
    (at: string) => `import { createGuard } from '/own/index.js';
    const guard = createGuard({ device: 'cpu', assets: '${at}' });`,
  ],
] as const) {
  test(`from another origin, the guard has a worker all the same: ${where}`, async () => {
    const at = cdn.url('/rsafe/');
    const { origin } = new URL(at);
    const policy = `default-src 'none'; script-src 'self' ${origin} 'wasm-unsafe-eval'; worker-src blob: ${origin}; connect-src ${origin}`;
    const site = (await Site.open({ 'content-security-policy': policy })).mount('/own/', dist);
    try {
      const { title, workers, errors } = await titled(site, `${script(at)}${JUDGE}`);
      assert.deepEqual([title, workers.length, errors], ['allow', 1, []]);
      assert.match(workers[0]!, /^blob:/);
    } finally {
      await site.close();
    }
  });
}

test('where the policy forbids such a worker, the error says what would allow it', async () => {
  const at = cdn.url('/rsafe/');
  const { origin } = new URL(at);
  const policy = `default-src 'none'; script-src 'self' ${origin} 'wasm-unsafe-eval'; worker-src 'self'; connect-src ${origin}`;
  const site = await Site.open({ 'content-security-policy': policy });
  try {
    const script = `import { createGuard } from '${at}index.js';
      document.title = await createGuard({ model: '/' }).catch(({ code, message }) => code + ' ' + message);`;
    assert.match((await titled(site, script)).title, /^unsupported .*`blob:`/);
  } finally {
    await site.close();
  }
});

/** A page whose service worker runs `work` for a message and answers with what that gives. */
const inServiceWorker = async (imports: string, work: string): Promise<string> => {
  const site = (await Site.open({ 'content-security-policy': STRICT_CSP })).mount('/rsafe/', dist);
  site.mount('/rsafe-mini/', miniFolder).put(
    '/sw.js',
    `${imports}
    addEventListener('message', (event) => event.waitUntil((async () => { ${work} })()
      .catch(({ code, message }) => code + ' ' + message).then((said) => event.source.postMessage(said))));
    addEventListener('activate', (event) => event.waitUntil(clients.claim()));`,
  );
  try {
    const { title } = await titled(
      site,
      `await navigator.serviceWorker.register('/sw.js', { type: 'module' });
      navigator.serviceWorker.onmessage = ({ data }) => (document.title = data);
      (await navigator.serviceWorker.ready).active.postMessage('judge');`,
    );
    return title;
  } finally {
    await site.close();
  }
};

test('a service worker judges with `rsafe/workerd`, which imports its parts ahead', async () => {
  const said = await inServiceWorker(
    "import { createGuard } from '/rsafe/workerd.js';",
    `const wasm = await WebAssembly.compileStreaming(fetch('/rsafe/wasm/cpu.wasm'));
    const guard = await createGuard({ wasm, model: new URL('/rsafe-mini/model/', location.href) });
    return (await guard.check('How do I bake bread?')).decision;`,
  );
  assert.equal(said, 'allow');
});

test('a service worker that imports `rsafe` hears what to import instead', async () => {
  const said = await inServiceWorker(
    "import { createGuard } from '/rsafe/index.js';",
    'return (await createGuard()).info.device;',
  );
  assert.match(said, /^unsupported .*'rsafe\/workerd'/);
});
