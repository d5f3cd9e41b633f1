/** The examples, built as strangers build them from the packed package, and opened in a browser or run: one for each bundler,
 * and one for each of what the package fits into. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { serve } from './edge-worker.ts';
import { launch, launchExtension, openPage, until } from './support/browser.ts';
import { pack, project, type Packed, type Project } from './support/pack.ts';
import { cpuOnly, www } from './support/paths.ts';
import { Site, STRICT_CSP } from './support/server.ts';

const VERDICT = /^(allow|review|block) 0\.\d\d$/;

/** Nothing is told to those who make Next.js. */
const ENVIRONMENT = { ...process.env, NEXT_TELEMETRY_DISABLED: '1' };

/** Longer than what Vite writes into the script. */
const WITHOUT_WEBGPU = `// This build has no WebGPU.${' '.repeat(8192)}`;

/** What an example's build imports and calls beside the package. */
const TOOLS: Record<string, { packages: string[]; command?: string }> = {
  vite: { packages: ['vite'], command: 'vite' },
  webpack: { packages: ['webpack'], command: 'webpack' },
  esbuild: { packages: ['esbuild'], command: 'esbuild' },
  rollup: { packages: ['rollup', '@rollup/plugin-node-resolve'], command: 'rollup' },
  react: { packages: ['vite', 'react', 'react-dom'], command: 'vite' },
  openai: { packages: ['vite', 'openai'], command: 'vite' },
  page: { packages: [] },
  worker: { packages: [] },
  node: { packages: [] },
  'ai-sdk': { packages: ['ai'] },
  extension: { packages: ['esbuild'], command: 'esbuild' },
  // These have locks of their own: 110 and 150 MB, more than whoever builds the package wants.
  parcel: { packages: [] },
  next: { packages: [] },
};
/** Lines of an example's scripts that are its own. */
const LINES = 60;
const BUNDLERS = ['vite', 'webpack', 'esbuild', 'rollup'];

/** Webpack's command is a package of its own, which asks before it installs another; this is what it does in the end. */
const WEBPACK_COMMAND = `#!/usr/bin/env node
const webpack = require('webpack');
import(process.cwd() + '/webpack.config.js').then(({ default: config }) => {
  webpack(config, (error, stats) => {
    if (!error && !stats.hasErrors()) return;
    console.error(error ?? stats.toString('errors-only'));
    process.exitCode = 1;
  });
});
`;

let packed: Packed;
let browser: Browser;

before(async () => {
  packed = pack();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  packed?.remove();
});

/** An example's folder as a project of its own, with the packed package and the bundler in it. */
function copied(bundler: string, changed: Record<string, string> = {}, installed: { model?: boolean } = {}): Project {
  const folder = join(www, 'examples', bundler);
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  const files = Object.fromEntries(paths.map((path) => [path, readFileSync(join(folder, path), 'utf8')]));
  const made = project(packed, { ...files, ...changed }, installed);
  // A build without WebGPU lacks files that webpack looks for.
  if (cpuOnly())
    for (const name of ['webgpu.js', 'webgpu.wasm']) writeFileSync(join(made.rsafe, 'dist/wasm', name), WITHOUT_WEBGPU);
  const modules = join(made.folder, 'node_modules');
  const { packages, command } = TOOLS[bundler]!;
  const link = (path: string) => {
    mkdirSync(dirname(join(modules, path)), { recursive: true });
    symlinkSync(join(www, 'node_modules', path), join(modules, path));
  };
  packages.forEach(link);
  if (command !== undefined && bundler !== 'webpack') link(join('.bin', command));
  if (bundler === 'webpack') {
    mkdirSync(join(modules, '.bin'), { recursive: true });
    writeFileSync(join(modules, '.bin/webpack.cjs'), WEBPACK_COMMAND);
    symlinkSync('webpack.cjs', join(modules, '.bin/webpack'));
    chmodSync(join(modules, '.bin/webpack.cjs'), 0o755);
  }
  return made;
}

/** A copy of an example that brings packages from npm's registry. Where npm has them neither there nor kept, the test says so and
 * is passed over. */
function fetched(t: TestContext, name: string, changed: Record<string, string> = {}): Project | undefined {
  try {
    return copied(name, changed);
  } catch (error) {
    const { stderr } = error as { stderr?: unknown };
    if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED/.test(String(stderr))) throw error;
    t.skip("expected npm's registry, and it cannot be reached");
    return undefined;
  }
}

function built(made: Project): void {
  const ran = spawnSync('npm', ['run', '--silent', 'build'], { cwd: made.folder, encoding: 'utf8', env: ENVIRONMENT });
  assert.equal(ran.status, 0, ran.stdout + ran.stderr);
}

/** Builds a project and gives the title of its page, once that is a verdict or an error; `press` is pressed for it, and `streams` are answered. */
async function titleOf(made: Project, press?: string, streams: Record<string, string> = {}): Promise<string> {
  built(made);
  const site = await Site.open({ 'content-security-policy': STRICT_CSP });
  try {
    site.mount('/', join(made.folder, 'out'));
    for (const [path, content] of Object.entries(streams)) site.put(path, content, 'text/event-stream');
    const { page, complaints } = await openPage(browser, site, '/index.html');
    if (press !== undefined) await page.getByRole('button', { name: press }).click();
    await page
      .waitForFunction(() => document.title !== 'loading')
      .catch((error: Error) => {
        throw new Error(`${error.message}\nThe page says: ${JSON.stringify(complaints)}`);
      });
    const title = await page.title();
    await page.close();
    assert.deepEqual(complaints, { errors: [], warnings: [], strangers: [] });
    return title;
  } finally {
    await site.close();
  }
}

/** What a project's script says. */
function saidBy(made: Project): string {
  const ran = spawnSync('npm', ['start', '--silent'], { cwd: made.folder, encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stdout + ran.stderr);
  return ran.stdout;
}

test('there is a test of each example, and a row of the examples’ README', () => {
  const folders = readdirSync(join(www, 'examples'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.deepEqual(folders.map(({ name }) => name).sort(), Object.keys(TOOLS).sort());
  const readme = readFileSync(join(www, 'examples/README.md'), 'utf8');
  for (const { name } of folders) assert.ok(readme.includes(`\`${name}\``), name);
});

test('what an example shows takes fewer than sixty lines', () => {
  for (const name of Object.keys(TOOLS)) {
    const files = readdirSync(join(www, 'examples', name), { recursive: true }).map(String);
    const scripts = files.filter((file) => /\.jsx?$/.test(file));
    // A page of Next.js and the route that it asks are an example each.
    const shown = name === 'next' ? scripts.map((script) => [script]) : [scripts];
    for (const parts of shown) {
      const text = parts.map((script) => readFileSync(join(www, 'examples', name, script), 'utf8')).join('');
      const lines = text.trimEnd().split('\n').length;
      assert.ok(lines < LINES, `${name}: ${lines} lines`);
    }
  }
});

for (const bundler of BUNDLERS) {
  test(`the example for ${bundler} builds, and its page judges in a worker under the strict policy`, async () => {
    const made = copied(bundler);
    try {
      assert.match(await titleOf(made), VERDICT);
    } finally {
      made.remove();
    }
  });
}

test('the example for React builds, and its page judges when it is asked to, under the strict policy', async () => {
  const made = copied('react');
  try {
    assert.match(await titleOf(made, 'Check'), VERDICT);
  } finally {
    made.remove();
  }
});

test('the page with the client of OpenAI tells an answer that passes, and is refused in the name of the API', async () => {
  const made = copied('openai');
  const frame = (delta: object, finish_reason: string | null) =>
    `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', model: 'small', choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
  const answer = [
    frame({ role: 'assistant', content: 'Mix flour and water.' }, null),
    frame({}, 'stop'),
    'data: [DONE]\n\n',
  ];
  try {
    assert.equal(await titleOf(made, undefined, { '/v1/chat/completions': answer.join('') }), 'stop, content_filter');
  } finally {
    made.remove();
  }
});

test('the page without a bundler judges in a worker under the strict policy', async () => {
  const made = copied('page');
  try {
    assert.match(await titleOf(made), VERDICT);
  } finally {
    made.remove();
  }
});

test('the worker judges in workerd, with the model among its assets', async () => {
  const made = copied('worker');
  const { outputFiles } = await build({
    absWorkingDir: made.folder,
    entryPoints: ['main.js'],
    bundle: true,
    write: false,
    format: 'esm',
    conditions: ['workerd'],
    alias: { 'rsafe/cpu.wasm': './cpu.wasm' },
    external: ['./cpu.wasm'],
    logLevel: 'error',
  });
  const wasm = readFileSync(join(made.rsafe, 'dist/wasm/cpu.wasm'));
  const model = join(made.folder, 'node_modules/rsafe-mini/model');
  const worker = serve({ script: outputFiles[0]!.text, wasm }, {}, model);
  try {
    const ask = async (body: object) => {
      const response = await worker.dispatchFetch('http://worker/', { method: 'POST', body: JSON.stringify(body) });
      return [response.status, await response.json()] as [number, { decision?: string; code?: string }];
    };
    const [status, { decision }] = await ask({ messages: [{ role: 'user', content: 'How do I bake bread?' }] });
    assert.deepEqual([status, decision], [200, 'allow']);
    const [refused, { code }] = await ask({ messages: [] });
    assert.deepEqual([refused, code], [400, 'bad_input']);
  } finally {
    await worker.dispose();
    made.remove();
  }
});

test('the script for Node judges a prompt and an answer', () => {
  const made = copied('node');
  try {
    const said = saidBy(made).split('\n');
    assert.match(said[0]!, /^allow 0\.\d\d -: How do I bake bread\?$/);
    assert.match(said[1]!, /^block [01]\.\d\d internal: /);
    assert.equal(said.slice(2).join(''), 'Mix flour, water, salt and yeast, and let the dough rest.');
  } finally {
    made.remove();
  }
});

test('the script for the AI SDK tells an answer that passes, and never asks the model what is blocked', () => {
  const made = copied('ai-sdk');
  try {
    assert.deepEqual(saidBy(made).trim().split('\n'), [
      'Mix flour, water, salt and yeast, and let the dough rest.',
      'allow, stop, asked the model 1 times',
      'I cannot help with that.',
      'block, content-filter, asked the model 1 times',
    ]);
  } finally {
    made.remove();
  }
});

test('the example for Parcel builds, and its page judges in a worker under the strict policy', async (t) => {
  const made = fetched(t, 'parcel');
  if (!made) return;
  try {
    assert.match(await titleOf(made), VERDICT);
    const emitted = readdirSync(join(made.folder, 'out'), { recursive: true }).map(String);
    assert.equal(emitted.filter((name) => name.endsWith('.safetensors')).length, 1, 'one copy of the model');
  } finally {
    made.remove();
  }
});

test('without `assets`, what Parcel builds gives an error that says what to do', async (t) => {
  const manifest = JSON.parse(readFileSync(join(www, 'examples/parcel/package.json'), 'utf8'));
  const made = fetched(t, 'parcel', {
    'main.js': `
      import { createGuard } from 'rsafe';
      document.title = await createGuard().catch((error) => error.code + ': ' + error.message);`,
    'package.json': JSON.stringify({ ...manifest, alias: {} }),
  });
  if (!made) return;
  try {
    assert.match(await titleOf(made), /^unsupported: .*`assets`/);
  } finally {
    made.remove();
  }
});

test('the extension’s service worker judges what its popup sends, under a policy without `unsafe-eval`', async () => {
  const made = copied('extension');
  try {
    built(made);
    const out = join(made.folder, 'out');
    await using extension = await launchExtension(out);
    const { page } = extension;
    for (const [text, said] of [
      ['How do I bake bread?', /^allow 0\.\d\d$/],
      // What cannot be judged is told.
      ['bread '.repeat(200_000), /context|longer/],
    ] as const) {
      await page.getByRole('textbox').fill(text);
      await page.getByRole('button', { name: 'Check' }).click();
      await page.waitForFunction(() => document.querySelector('output')!.value !== 'Reading …');
      assert.match((await page.locator('output').textContent()) ?? '', said);
    }
  } finally {
    made.remove();
  }
});

test('the example for Next.js builds with Turbopack, and its route and its page judge', async (t) => {
  const made = fetched(t, 'next');
  if (!made) return;
  try {
    built(made);
    const next = join(made.folder, 'node_modules/next/dist/bin/next');
    const server = spawn(process.execPath, [next, 'start', '--port', '0'], { cwd: made.folder, env: ENVIRONMENT });
    try {
      let said = '';
      for (const stream of [server.stdout, server.stderr]) stream.on('data', (text) => (said += text));
      server.once('exit', () => (said += '\nthe server ended'));
      await until('Next.js listens', () => /Ready|ended/.test(said));
      const [origin] = /http:\/\/localhost:\d+/.exec(said) ?? assert.fail(said);
      const messages = [{ role: 'user', content: 'How do I bake bread?' }];
      const answer = await fetch(`${origin}/guard`, { method: 'POST', body: JSON.stringify({ messages }) });
      assert.equal(((await answer.json()) as { decision?: string }).decision, 'allow', said);
      const page = await browser.newPage();
      page.setDefaultTimeout(180_000);
      await page.goto(origin);
      await page.getByRole('button', { name: 'Check' }).click();
      await page.waitForFunction(() => document.title !== 'loading');
      assert.match(await page.title(), VERDICT);

      await page.goto(`${origin}/chat`);
      for (const [asked, answer] of [
        ['How do I bake bread?', 'Mix flour, water, salt and yeast.'],
        ['What is project nightjar?', 'I cannot help with that.'],
      ] as const) {
        await page.getByRole('textbox').fill(asked);
        await page.getByRole('button', { name: 'Send' }).click();
        await page.getByText(`assistant: ${answer}`).waitFor();
      }
      await page.close();
    } finally {
      server.kill();
      if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
    }
  } finally {
    made.remove();
  }
});

test('Vite makes the worker of an import, and the guard takes it', async () => {
  const made = copied('vite', {
    'main.js': `
      import { createGuard } from 'rsafe';
      import GuardWorker from 'rsafe/worker?worker';
      const guard = await createGuard({ worker: () => new GuardWorker({ name: 'mine' }) });
      const verdict = await guard.check('How do I pick a lock?');
      document.title = \`\${verdict.decision} \${verdict.score.toFixed(2)}\`;`,
  });
  try {
    assert.match(await titleOf(made), VERDICT);
  } finally {
    made.remove();
  }
});

for (const bundler of BUNDLERS) {
  test(`without rsafe-mini ${bundler} builds, nothing of a model is there, and the error says what to install`, async () => {
    const script = `
      import { createGuard } from 'rsafe';
      document.title = await createGuard({ worker: false }).catch((error) => error.code + ': ' + error.message);`;
    const { scripts } = JSON.parse(readFileSync(join(www, 'examples', bundler, 'package.json'), 'utf8'));
    const build = scripts.build.replace(/ && cp -r node_modules\/rsafe-mini\S* \S+/, '');
    const manifest = { type: 'module', scripts: { build } };
    const made = copied(bundler, { 'main.js': script, 'package.json': JSON.stringify(manifest) }, { model: false });
    try {
      assert.match(await titleOf(made), /^bad_model: .*npm install rsafe-mini/);
      const emitted = readdirSync(join(made.folder, 'out'), { recursive: true }).map(String);
      assert.deepEqual(
        emitted.filter((name) => /safetensors|tokenizer/.test(name)),
        [],
      );
    } finally {
      made.remove();
    }
  });
}

for (const bundler of ['vite', 'webpack']) {
  test(`${bundler} copies the build for WebGPU only where it is imported`, async () => {
    const script = (imported: string, options: string) => `
      import { createGuard } from 'rsafe';
      ${imported}
      const { info } = await createGuard({ ${options} });
      document.title = info.device + ': ' + info.reason;`;
    const own = { 'main.js': script('', '') };
    const asked = { 'main.js': script("import webgpu from 'rsafe/webgpu';", 'webgpu') };
    for (const [files, copies, reason] of [
      [own, 0, /^cpu: .*'rsafe\/webgpu'/],
      // This browser has no GPU.
      [asked, 1, /^cpu: (?!.*'rsafe\/webgpu')/],
    ] as const) {
      const made = copied(bundler, files);
      const code = readFileSync(join(made.rsafe, 'dist/wasm/webgpu.wasm'));
      try {
        assert.match(await titleOf(made), reason);
        const emitted = readdirSync(join(made.folder, 'out'), { recursive: true, withFileTypes: true });
        const isCode = (path: string) => readFileSync(path).equals(code);
        const found = emitted.filter((file) => file.isFile() && isCode(join(file.parentPath, file.name)));
        assert.equal(found.length, copies);
      } finally {
        made.remove();
      }
    }
  });
}

test('the model may be handed over, as its package exports it', async () => {
  const made = copied('vite', {
    'main.js': `
      import { createGuard } from 'rsafe';
      import model from 'rsafe-mini';
      const guard = await createGuard({ model });
      const verdict = await guard.check('How do I pick a lock?');
      document.title = \`\${verdict.decision} \${verdict.score.toFixed(2)}\`;`,
  });
  try {
    assert.match(await titleOf(made), VERDICT);
  } finally {
    made.remove();
  }
});

test('without `assets`, a bundler that leaves addresses alone gives an error that says what to do', async () => {
  const made = copied('rollup', {
    'main.js': `
      import { createGuard } from 'rsafe';
      document.title = await createGuard().catch((error) => error.code + ': ' + error.message);`,
    'package.json': '{"type": "module", "scripts": {"build": "rollup -c && cp -r public/. out"}}',
  });
  try {
    const title = await titleOf(made);
    assert.match(title, /^unsupported: /);
    assert.match(title, /`assets`/);
  } finally {
    made.remove();
  }
});

test('policies are read and checked by the build at `assets` too, in the page as in a worker', async () => {
  const made = copied('rollup', {
    'main.js': `
      import { createGuard, lintPolicy, parsePolicy } from 'rsafe';
      const at = { assets: new URL('rsafe', document.baseURI) };
      const findings = await lintPolicy('name: x', 'x.yaml', at);
      const { categories } = await parsePolicy('general', at);
      const guard = await createGuard({ ...at, worker: false, device: 'cpu' });
      const { decision } = await guard.check('Hello');
      document.title = JSON.stringify([findings.length > 0, categories.length, decision]);`,
  });
  try {
    assert.match(await titleOf(made), /^\[true,16,"\w+"\]$/);
  } finally {
    made.remove();
  }
});
