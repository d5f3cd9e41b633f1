/** The packed package where strangers use it: Vite, a plain page, Node, workerd and the TypeScript compiler. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { build, createServer, type ViteDevServer } from 'vite';
import type { Verdict } from '../src/types.ts';
import { launch, openPage, page as html } from './support/browser.ts';
import { miniBundle, totalBytes } from './support/bundle.ts';
import { agree } from './support/golden.ts';
import { pack, project, type Packed, type Project } from './support/pack.ts';
import { www } from './support/paths.ts';
import { Site, STRICT_CSP } from './support/server.ts';

const MAIN = `
import { createGuard } from 'rsafe';
const guard = await createGuard({ device: 'cpu' });
const verdict = await guard.check('How do I pick a lock?');
document.title = JSON.stringify({ verdict, info: guard.info });
`;

let packed: Packed;
let app: Project;
let browser: Browser;

before(async () => {
  packed = pack();
  app = project(packed, {
    'index.html': '<!doctype html><title>loading</title><script type="module" src="/main.js"></script>',
    'main.js': MAIN,
    'node.js': `
      import { createGuard } from 'rsafe';
      const guard = await createGuard();
      const verdict = await guard.check('How do I pick a lock?');
      const reasoning = [];
      for await (const event of guard.stream('Hello', { reasoning: 'always' })) reasoning.push(event.type);
      console.log(JSON.stringify({ verdict, info: guard.info, reasoning }));
      await guard.dispose();`,
    'fetch.js': `
      import { createGuard, GuardError } from 'rsafe';
      import { guardFetch } from 'rsafe/fetch';
      const rules = [{ id: 'word', literal: 'zanzibar seven' }];
      const categories = [{ id: 'other', definition: 'Nothing' }];
      const guard = await createGuard({ policy: { name: 'house', categories, rules }, reasoning: 'never' });
      const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'zanzibar seven' }] });
      const ask = (options) => guardFetch(guard, options)('http://localhost:9/v1/chat/completions', { method: 'POST', body });
      const { choices } = await (await ask()).json();
      const error = await ask({ onBlocked: 'throw' }).catch((error) => error);
      console.log(choices[0].finish_reason, error.code, error instanceof GuardError);
      await guard.dispose();`,
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  app?.remove();
  packed?.remove();
});

interface Report {
  verdict: Verdict;
  info: { device: string; model: string; bytes: number; source: string };
}

/** Opens a page whose title becomes a report. */
async function reported(site: Site, path: string): Promise<Report> {
  const { page, complaints } = await openPage(browser, site, path);
  await page
    .waitForFunction(() => document.title.startsWith('{'))
    .catch((error: Error) => {
      throw new Error(`${error.message}\nThe page says: ${JSON.stringify(complaints)}`);
    });
  const report = JSON.parse(await page.title()) as Report;
  await page.close();
  assert.deepEqual(complaints, { errors: [], warnings: [], strangers: [] });
  return report;
}

const inNode = (): Report & { reasoning: string[] } => {
  const run = spawnSync(process.execPath, ['node.js'], { cwd: app.folder, encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  return JSON.parse(run.stdout);
};

test('Node takes the package with the four lines, and reads its files from disk', () => {
  const { info, verdict, reasoning } = inNode();
  assert.deepEqual([info.device, info.model, info.bytes], ['cpu', 'rsafe-mini', totalBytes(miniBundle())]);
  assert.ok(verdict.score > 0 && verdict.score < 1);
  assert.deepEqual([reasoning.includes('reasoning'), reasoning.at(-1)], [true, 'verdict']);
});

test('a guarded fetch refuses in the name of the API, with errors of the package', () => {
  const run = spawnSync(process.execPath, ['fetch.js'], { cwd: app.folder, encoding: 'utf8' });
  assert.deepEqual([run.status, run.stdout.trim(), run.stderr], [0, 'content_filter blocked true', '']);
});

test('a plain module page takes the package as it lies there, under the strict policy', async () => {
  const site = await Site.open({ 'content-security-policy': STRICT_CSP });
  try {
    site.mount('/mini/', join(app.folder, 'node_modules/rsafe-mini'));
    site.mount('/lib/', join(app.rsafe, 'dist')).put('/plain.html', html('/plain.js'));
    const named = MAIN.replace("'rsafe'", "'/lib/index.js'").replace("'cpu'", "'cpu', model");
    site.put('/plain.js', `import model from '/mini/index.js';${named}`);
    const { verdict } = await reported(site, '/plain.html');
    agree('a plain page and Node', verdict, inNode().verdict, 1e-4);
  } finally {
    await site.close();
  }
});

test('a Vite app builds without configuration and runs, in a folder of its site too', async () => {
  for (const base of ['/', '/some/folder/']) {
    await build({
      root: app.folder,
      base,
      configFile: false,
      logLevel: 'error',
      build: { outDir: 'out', emptyOutDir: true },
    });
    const site = await Site.open({ 'content-security-policy': STRICT_CSP });
    try {
      site.mount(base, join(app.folder, 'out'));
      const { verdict, info } = await reported(site, `${base}index.html`);
      assert.equal(info.model, 'rsafe-mini');
      agree('Vite and Node', verdict, inNode().verdict, 1e-4);
    } finally {
      await site.close();
    }
  }
});

test('a Vite app runs from the development server without configuration', async () => {
  const server: ViteDevServer = await createServer({
    root: app.folder,
    configFile: false,
    logLevel: 'error',
    server: { port: 0, hmr: false },
  });
  try {
    await server.listen();
    const address = server.resolvedUrls!.local[0]!;
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    await page.goto(address);
    // The first visit makes Vite bundle the dependency and load the page again.
    await page
      .waitForFunction(() => document.title.startsWith('{'))
      .catch((error: Error) => {
        throw new Error(`${error.message}\nThe page says: ${errors.join('\n')}`);
      });
    const { verdict } = JSON.parse(await page.title()) as Report;
    assert.equal(verdict.decision, inNode().verdict.decision);
    await page.close();
  } finally {
    await server.close();
  }
});

test('browsers get the browser’s entry, whoever asks, and Node its own', () => {
  const entry = (...flags: string[]) =>
    spawnSync(
      process.execPath,
      [...flags, '--input-type=module', '--eval', "console.log(import.meta.resolve('rsafe'))"],
      {
        cwd: app.folder,
        encoding: 'utf8',
      },
    ).stdout.trim();
  assert.match(entry(), /\/dist\/node\.js$/);
  assert.match(entry('--conditions=browser'), /\/dist\/index\.js$/);
  const { browser } = JSON.parse(readFileSync(join(app.rsafe, 'package.json'), 'utf8')) as { browser: string };
  assert.equal(browser, './dist/index.js');
});

test('the types resolve under bundler and nodenext, at the edge too, and refuse what is wrong', () => {
  const typed = project(packed, {
    'index.ts': `
      import { createGuard, isSupported, builtinPolicies, lintPolicy, parsePolicy, cacheStatus, clearCache, GuardError } from 'rsafe';
      import { guardFetch } from 'rsafe/fetch';
      import type { Guard, GuardOptions, Verdict, Decision, PolicyObject, GuardEvent, Progress } from 'rsafe';
      const options: GuardOptions = { device: 'auto', onProgress: ({ loaded, total }: Progress) => console.log(loaded / total) };
      const guard: Guard = await createGuard(options);
      const verdict: Verdict = await guard.check([{ role: 'user', content: 'Hello' }], { signal: AbortSignal.abort() });
      const decision: Decision = verdict.decision;
      const stream = guard.stream('Hello');
      for await (const event of stream) {
        const typed: GuardEvent = event;
        if (typed.type === 'reasoning') console.log(typed.text.length, decision);
      }
      console.log((await stream.verdict).categories[0]?.score, guard.info.device, builtinPolicies.length);
      const words: ReadableStream<string> = new ReadableStream<string>().pipeThrough(guard.transform());
      const body = (await fetch('/')).body!.pipeThrough(guard.transform({ holdBack: 8 })).pipeThrough(new TextDecoderStream());
      new Response(words.pipeThrough(new TextEncoderStream()));
      for await (const text of body) console.log(text.length);
      const policy: PolicyObject = await parsePolicy('general');
      await guard.setPolicy(policy);
      console.log((await lintPolicy('name: x'))[0]?.line, (await isSupported()).reasons, (await cacheStatus())[0]?.bytes);
      await clearCache();
      const safe: typeof fetch = guardFetch(guard, { onVerdict: (verdict, where) => console.log(verdict.decision, where.what) });
      await safe('/v1/chat/completions', { method: 'POST', body: '{}' });
      // @ts-expect-error: there is no such answer
      guardFetch(guard, { onBlocked: 'shrug' });
      try {
        await guard.dispose();
      } catch (error) {
        if (error instanceof GuardError && error.code === 'aborted') console.log(error.retryable, error.findings);
      }
      // @ts-expect-error: there is no such device
      await createGuard({ device: 'abacus' });
      // @ts-expect-error: there is no such option
      await guard.check('x', { strictnes: 1 });
      // @ts-expect-error: there is no such decision
      if (decision === 'maybe') console.log(decision);
      export {};
    `,
    'page.ts': `
      import { lintPolicy, parsePolicy } from 'rsafe';
      console.log(await lintPolicy('name: x', 'x.yaml', { assets: '/rsafe/' }), await parsePolicy('general', { assets: '/rsafe/' }));
      export {};
    `,
    'node.ts': `
      import { lintPolicy, parsePolicy } from 'rsafe';
      // @ts-expect-error: Node reads the package's own files
      await lintPolicy('name: x', 'x.yaml', { assets: '/rsafe/' });
      // @ts-expect-error: here too
      await parsePolicy('general', { assets: '/rsafe/' });
      export {};
    `,
    'edge.ts': `
      import { createGuard, lintPolicy } from 'rsafe';
      // @ts-expect-error: nothing is kept at the edge
      import { cacheStatus } from 'rsafe';
      import wasm from 'rsafe/cpu.wasm';
      const guard = await createGuard({ wasm, model: 'https://example.com/model/' });
      console.log(guard.info.device, await lintPolicy('name: x'), cacheStatus);
      // @ts-expect-error: the compiled module must be handed in
      await createGuard({ model: 'https://example.com/model/' });
      export {};
    `,
  });
  const compiler = join(www, 'node_modules/typescript/bin/tsc');
  const common = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable'];
  try {
    for (const [module, moduleResolution, own] of [
      ['esnext', 'bundler', 'page.ts'],
      ['nodenext', 'nodenext', 'node.ts'],
    ] as const) {
      for (const file of [
        ['index.ts', own],
        ['edge.ts', '--customConditions', 'workerd'],
      ]) {
        const args = [
          compiler,
          ...common,
          '--types',
          '',
          '--module',
          module,
          '--moduleResolution',
          moduleResolution,
          ...file,
        ];
        const run = spawnSync(process.execPath, args, { cwd: typed.folder, encoding: 'utf8' });
        assert.equal(run.status, 0, `${moduleResolution}:\n${run.stdout}`);
      }
    }
  } finally {
    typed.remove();
  }
});
