/** Samples: the TypeScript of the manuals and of the demo page as a newcomer pastes it, compiled against the packed
 * package's types and run; and the demo page's conversations, judged by the embedded model. Samples of other languages are
 * checked by the Rust tests (`tests/manual.rs`). */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { transformSync } from 'esbuild';
import type { Browser } from 'playwright-core';
import { CHECK_EVERY, type Expected, samples as conversations, scenes } from '../demo/samples.ts';
import { snippets } from '../demo/snippet.ts';
import type { Guard, Message, Verdict } from '../src/types.ts';
import { launch, mountPackages, openPage, page as html } from './support/browser.ts';
import { pack, project, type Packed, type Project } from './support/pack.ts';
import { built, www } from './support/paths.ts';
import { Site, STRICT_CSP } from './support/server.ts';

const MANUALS = ['README.md', 'src/policy/README.md', 'models/TRAINING.md', 'www/README.md', 'www/edge/README.md'];

interface Sample {
  /** Manual and line. */
  place: string;
  code: string;
}

/** Every block of a language that is compiled or run here. */
const samples: Sample[] = MANUALS.flatMap((manual) => {
  const text = readFileSync(join(www, '..', manual), 'utf8');
  const blocks = [...text.matchAll(/^```(?:ts|tsx|typescript|js|javascript)\n([\s\S]*?)^```$/gm)];
  return blocks.map(({ index, 1: code }) => ({
    place: `${manual}:${text.slice(0, index).split('\n').length}`,
    code: code!,
  }));
});
for (const [name, code] of Object.entries(snippets)) samples.push({ place: `www/demo/snippet.ts: ${name}`, code });

/** The same policy as in the manual, for samples that name an address. */
const POLICY =
  'name: desk\ncategories:\n  - id: theft\n    name: Theft\n    definition: Taking what belongs to others.\n';

/** What a chat's API answers, in samples that ask one. */
const COMPLETION = JSON.stringify({
  object: 'chat.completion',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Mix flour and water.' }, finish_reason: 'stop' }],
});

/** How far above its threshold the score of a category that applies is, and below which part of it one that does not, so that
 * the samples outlive small changes of the model. */
const ABOVE = 0.15;
const BELOW = 0.6;

let packed: Packed;
let app: Project;
let browser: Browser;
let guard: Guard;

before(async () => {
  guard = await (await import(built('node.js'))).createGuard();
  packed = pack();
  app = project(packed, Object.fromEntries(samples.map(({ code }, i) => [`sample${i}.ts`, `${code}\nexport {};\n`])));
  browser = await launch();
});

after(async () => {
  await guard?.dispose();
  await browser?.close();
  app?.remove();
  packed?.remove();
});

test('every TypeScript sample compiles in an empty project, strictly', () => {
  assert.ok(samples.length >= 4, `expected samples in ${MANUALS.join(', ')} but found ${samples.length}`);
  const compiler = join(www, 'node_modules/typescript/bin/tsc');
  const options = ['--noEmit', '--strict', '--types', '', '--target', 'es2022', '--module', 'esnext'];
  const libraries = ['--moduleResolution', 'bundler', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable'];
  const names = samples.map((_, i) => `sample${i}.ts`);
  const run = spawnSync(process.execPath, [compiler, ...options, ...libraries, ...names], {
    cwd: app.folder,
    encoding: 'utf8',
  });
  const where = names.map((name, i) => `${name} is ${samples[i]!.place}`).join('\n');
  assert.equal(run.status, 0, `${where}\n${run.stdout}`);
});

for (const { place, code } of samples.filter(({ code }) => code.includes('createGuard'))) {
  test(`the sample of ${place} runs in a page to its end`, async () => {
    const site = await Site.open({ 'content-security-policy': STRICT_CSP });
    const script = (source: string) => transformSync(source, { loader: 'ts', format: 'esm', target: 'es2022' }).code;
    const served = (source: string) =>
      script(source).replaceAll(/(['"])rsafe(?:\/(\w+))?\1/g, (_, __, part = 'index') => `'/rsafe/${part}.js'`);
    try {
      mountPackages(site, join(app.rsafe, 'dist')).put('/policy.yaml', POLICY).put('/page.html', html('/sample.js'));
      // In the place of a bundler.
      const guardedFetch = readFileSync(join(app.rsafe, 'dist/fetch.js'), 'utf8');
      site.put('/rsafe/fetch.js', guardedFetch.replaceAll('"eventsource-parser"', '"/parser/index.js"'));
      site
        .mount('/parser/', join(www, 'node_modules/eventsource-parser/dist'))
        .put('/v1/models', '{}')
        .put('/v1/chat/completions', COMPLETION, 'application/json');
      site.put('/chat', 'Ask the locksmith around the corner.');
      site.put('/guard-worker.js', served("import 'rsafe/worker';"));
      site.put('/sample.js', `${served(code)}\ndocument.title = 'loaded';`);
      const { page, complaints } = await openPage(browser, site);
      await page.close();
      assert.deepEqual(complaints, { errors: [], warnings: [], strangers: [] });
    } finally {
      await site.close();
    }
  });
}

/** That the verdict is the one that the sample states, with room to spare. */
function holds({ decision, categories }: Verdict, expected: Expected): void {
  const scores = categories.map(({ id, score, threshold }) => `${id} ${score.toFixed(2)} of ${threshold.toFixed(2)}`);
  const found = `found ${decision}: ${scores.join(', ')}`;
  assert.equal(decision, expected.decision, found);
  if (expected.decision === 'allow') {
    assert.ok(
      categories.every(({ score, threshold }) => score <= threshold * BELOW),
      `expected every score below ${BELOW} of its threshold, ${found}`,
    );
  } else {
    const { category } = expected;
    assert.ok(
      categories.some(({ id, score, threshold }) => id === category && score >= threshold + ABOVE),
      `expected ${category} ${ABOVE} above its threshold, ${found}`,
    );
  }
}

for (const { label, prompt, answer, expected } of conversations) {
  test(`the page's sample “${label}” is judged as it states`, async () => {
    const messages: Message[] = [{ role: 'user', content: prompt }];
    if (answer !== undefined) messages.push({ role: 'assistant', content: answer });
    holds(await guard.check(messages, { reasoning: 'never' }), expected);
  });
}

for (const { label, prompt, answer, expected } of scenes) {
  test(`the page's answer “${label}” is let through or cut as it states`, async () => {
    const verdicts: Verdict[] = [];
    let shown = '';
    const { readable, writable } = guard.transform({
      messages: [{ role: 'user', content: prompt }],
      checkEvery: CHECK_EVERY,
      onCheck: (_, verdict) => verdicts.push(verdict),
    });
    const writer = writable.getWriter();
    const arrive = async () => {
      for (const word of answer.match(/\S+\s*/g) ?? []) await writer.write(word);
      await writer.close();
    };
    const reading = readable.pipeTo(new WritableStream({ write: (words) => void (shown += words) }));
    const [written] = await Promise.allSettled([arrive(), reading]);
    const last = verdicts.pop()!;
    holds(last, expected);
    assert.ok(shown.length > 0, 'expected a beginning that is shown');
    if (expected.decision === 'allow') {
      assert.equal(shown, answer);
      for (const verdict of verdicts) holds(verdict, expected);
    } else {
      assert.equal(written.status, 'rejected');
      assert.ok(shown.length < answer.length);
    }
  });
}
