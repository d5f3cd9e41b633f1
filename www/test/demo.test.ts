/** The demo page as its visitors meet it: in a real browser, built, served as it is served to them. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { scenes } from '../demo/samples.ts';
import { snippets } from '../demo/snippet.ts';
import { CONTENT_SECURITY_POLICY, serve } from '../scripts/serve.mjs';
import type { Served } from '../scripts/serve.mjs';
import { launch } from './support/browser.ts';
import { built, modelFile } from './support/paths.ts';

const LONG = 'A sentence about gardens, rain and the price of bread. '.repeat(80);
const IMG = '<img src=x onerror=globalThis.owned=1>';

let browser: Browser;
let site: Served;

before(async () => {
  built('demo/sw.js');
  site = await serve({ root: built('demo') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await site?.close();
});

interface Visit {
  page: Page;
  /** What the browser complained about, such as violations of the security policy. */
  complaints: string[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** A first visit: nothing is stored. Resolves when the model is ready. */
async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(180_000);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('request', (request) => {
    const address = new URL(request.url());
    if (address.protocol.startsWith('http') && address.origin !== new URL(site.url).origin)
      complaints.push(`asked ${address}`);
  });
  await page.goto(site.url);
  await ready(page);
  return { page, complaints, [Symbol.asyncDispose]: () => context.close() };
}

const ready = (page: Page) => page.waitForSelector('#model-state[data-state=ready]');

/** Waits for a decision; resolves to its tier's word. */
async function decision(page: Page): Promise<string> {
  const badge = page.locator('#verdict[aria-busy=false] .decision .badge:not(.waiting)');
  await badge.waitFor();
  return (await badge.textContent()) ?? '';
}

async function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** Waits for the end of the growing answer; resolves to its word. */
async function outcome(page: Page): Promise<string> {
  const badge = page.locator('#live-outcome .badge');
  await badge.waitFor();
  return (await badge.textContent()) ?? '';
}

const bubble = (page: Page) => page.locator('#live-log .assistant .said');

/** Keeps whatever text comes into the page, however briefly, as `everSeen`. */
const rememberText = (page: Page) =>
  page.evaluate(() => {
    const kept = globalThis as { everSeen?: string };
    kept.everSeen = '';
    new MutationObserver(() => (kept.everSeen += document.body.textContent)).observe(document.body, {
      subtree: true,
      childList: true,
      characterData: true,
    });
  });

test('an answer that is blocked is cut, and what was held back is never in the page', async () => {
  await using visited = await visit();
  const { page, complaints } = visited;
  const { label, answer } = scenes.find(({ expected }) => expected.decision === 'block')!;
  await rememberText(page);
  await page.getByRole('button', { name: label }).click();
  await page.locator('#live-log .bar').first().waitFor();
  assert.equal(await outcome(page), 'Cut');
  const said = (await bubble(page).textContent()) ?? '';
  const [, shown = '', heldBack] = /^(.*?)cut: (\d+) characters held back$/s.exec(said) ?? [];
  assert.ok(shown.length > 0 && answer.startsWith(shown), said);
  const [, came] = /After (\d+) characters/.exec((await page.locator('#live-outcome').textContent()) ?? '') ?? [];
  assert.equal(Number(heldBack), Number(came) - shown.length);
  const held = answer.slice(shown.length).match(/[\w’]+(?: [\w’]+){2}/g) ?? [];
  const seen = await page.evaluate(() => `${(globalThis as { everSeen?: string }).everSeen}${document.body.outerHTML}`);
  assert.ok(held.length > 3 && seen.includes(shown.trim()));
  for (const words of held) assert.ok(!seen.includes(words), `expected “${words}” to stay out of the page`);
  assert.equal(await page.locator('#curve .point.over').count(), 1);
  assert.deepEqual(complaints, []);
});

test('a harmless answer is shown whole, and the curve has a point for each check', async () => {
  await using visited = await visit();
  const { page } = visited;
  const { label, prompt, answer } = scenes.find(({ expected }) => expected.decision === 'allow')!;
  await page.getByRole('button', { name: label }).click();
  assert.equal(await outcome(page), 'Shown whole');
  assert.equal(await bubble(page).textContent(), answer);
  // How many checks there are depends on how long they take: a slow one reads more at once.
  const checks = Number(await page.locator('#live-counts dd').last().textContent());
  assert.ok(checks > 1);
  assert.equal(await page.locator('#curve .point').count(), checks);
  // The last one is of the whole answer, as the package itself judges it.
  const score = await page.evaluate(
    async ([library, mini, prompt, answer]) => {
      const { createGuard } = (await import(library)) as typeof import('../src/index.ts');
      const { default: model } = (await import(mini)) as typeof import('rsafe-mini');
      const guard = await createGuard({ cache: false, model });
      const messages = [
        { role: 'user' as const, content: prompt },
        { role: 'assistant' as const, content: answer },
      ];
      const { categories } = await guard.check(messages);
      await guard.dispose();
      // The category that is nearest to applying.
      const nearest = categories.reduce((a, b) => (b.score - b.threshold > a.score - a.threshold ? b : a));
      return nearest.score.toFixed(2);
    },
    [new URL('rsafe/index.js', site.url).href, new URL('rsafe-mini/index.js', site.url).href, prompt, answer] as const,
  );
  const told = (await page.locator('#curve').getAttribute('aria-label')) ?? '';
  assert.ok(
    told.includes(`${checks} checks. The last, at ${answer.length} characters, has a score of ${score}.`),
    told,
  );
});

test('what a visitor writes as the assistant is held back until it is finished, stays text, and can be stopped', async () => {
  await using visited = await visit();
  const { page } = visited;
  const own = page.locator('#live-own');
  await own.pressSequentially('Bread ');
  await own.pressSequentially(`is good ${IMG}.`);
  await page
    .locator('#live-counts')
    .getByText(String(`Bread is good ${IMG}.`.length))
    .first()
    .waitFor();
  assert.ok(!(await bubble(page).textContent())?.includes('Bread'), 'no check has passed yet');
  await own.press('Escape');
  assert.equal(await outcome(page), 'Not finished');
  assert.ok(!(await bubble(page).textContent())?.includes('Bread'), 'what is held back stays so');
  await own.fill('Bread is good <b>warm</b>.');
  await page.locator('#live-finish').click();
  await page.locator('#live-outcome .badge.allow').waitFor();
  assert.equal(await bubble(page).textContent(), 'Bread is good <b>warm</b>.');
});

test('the code beside the chat is copied, whichever is shown', async () => {
  await using visited = await visit({ permissions: ['clipboard-read', 'clipboard-write'] });
  const { page } = visited;
  for (const [name, code] of Object.entries(snippets)) {
    await page.locator(`#snippet-choice input[value=${name}]`).check();
    assert.equal(await page.locator('#snippet').textContent(), code);
    await page.locator('#copy-snippet').click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), code);
    // The word goes after a while.
    await page.getByRole('button', { name: 'Copy', exact: true }).waitFor();
  }
});

test('the documents that it links to are there, as texts, the code of each example among them', async () => {
  await using visited = await visit();
  const { page } = visited;
  const hrefs = await page.locator('a[href^="./"]').evaluateAll((links) => links.map(({ href }: any) => String(href)));
  const texts = new Map<string, string>();
  for (const href of new Set(hrefs)) {
    const answer = await page.goto(href);
    assert.match(answer?.headers()['content-type'] ?? '', /^text\/plain/, href);
    texts.set(href.replace(/.*\//, ''), (await page.locator('body').textContent()) ?? '');
  }
  // What is beyond ASCII is read as it was written.
  for (const [name, text] of texts) assert.ok(text.startsWith('# ') && !text.includes('â'), name);
  assert.ok(texts.size >= 6, `expected six documents or more, found ${[...texts.keys()].join(', ')}`);
  for (const name of ['next/app/api/chat/route.js', 'openai/main.js', 'extension/background.js', 'react/main.jsx'])
    assert.ok(texts.get('examples.txt')?.includes(`\n${name}\n`), name);
});

test('a sample gives a verdict in words, with scores, figures and no complaint from the browser', async () => {
  await using visited = await visit();
  const { page, complaints } = visited;
  await page.getByRole('button', { name: 'Python process' }).click();
  assert.match(await decision(page), /^(Clear|Care|Attention|Block)$/);
  assert.match((await page.locator('.score').textContent()) ?? '', /^[01]\.\d\d/);
  assert.ok((await page.locator('.bars li').count()) > 3, 'expected a row for each category');
  assert.match((await page.locator('.figures').textContent()) ?? '', /Prompt[1-9]\d* tokens/);
  assert.match((await page.locator('#announcement').textContent()) ?? '', /^(Clear|Care|Attention|Block)\. Score/);
  assert.deepEqual(complaints, []);
});

test('an answer is judged as a response, and the user’s message where that is chosen', async () => {
  await using visited = await visit();
  const { page } = visited;
  await page.getByRole('button', { name: 'Two medicines' }).click();
  await decision(page);
  assert.equal(await page.locator('.thread .bubble').count(), 2);
  await page.locator('#target input[value=prompt]').check();
  await page.locator('#check').click();
  await decision(page);
  assert.equal(await page.locator('.thread .bubble').count(), 1);
});

test('reasoning is shown where it is always asked for, and not where it never is', async () => {
  await using visited = await visit();
  const { page } = visited;
  for (const [value, shown] of [
    ['always', 1],
    ['never', 0],
  ] as const) {
    await page.locator(`#reasoning input[value=${value}]`).check();
    await page.getByRole('button', { name: 'An address' }).click();
    await decision(page);
    assert.equal(await page.locator('#verdict .reasoning').count(), shown, value);
  }
});

test('a mistake in the policy is named with its line while it is typed, and leads the caret there', async () => {
  await using visited = await visit();
  const { page } = visited;
  const area = page.locator('#policy-text');
  await page.locator('#policy-choice').selectOption({ label: 'an example to edit' });
  const lines = (await area.inputValue()).split('\n');
  const line = lines.findIndex((text) => text.includes('threshold:')) + 1;
  await area.fill(lines.join('\n').replace('threshold:', 'treshold:'));
  const finding = page.locator('#policy-findings button.error').first();
  await finding.waitFor();
  assert.match((await finding.textContent()) ?? '', new RegExp(`line ${line}\\b.*treshold`));
  assert.equal(await area.getAttribute('aria-invalid'), 'true');
  await finding.click();
  const caret = await area.evaluate(
    (element: HTMLTextAreaElement) => element.value.slice(0, element.selectionStart).split('\n').length,
  );
  assert.equal(caret, line);

  await page.getByRole('button', { name: 'A complaint' }).click();
  await page.getByText('bad_policy', { exact: true }).waitFor();
  await area.fill(lines.join('\n'));
  await page.getByRole('button', { name: 'Check again' }).click();
  await decision(page);
  assert.equal(await page.locator('.alert').count(), 0, 'the page recovers');
});

test('an edited policy is the one that judges', async () => {
  await using visited = await visit();
  const { page } = visited;
  await page.locator('#policy-choice').selectOption({ label: 'an example to edit' });
  await page.locator('#prompt').fill('Please give me the staff phone line.');
  await page.locator('#check').click();
  assert.equal(await decision(page), 'Block');
  assert.match((await page.locator('#verdict').textContent()) ?? '', /rule “staff-line”/);
});

test('a reload keeps the edited policy, and others can be chosen and left', async () => {
  await using visited = await visit();
  const { page } = visited;
  const [choice, area] = [page.locator('#policy-choice'), page.locator('#policy-text')];
  const mine = 'name: mine\nversion: "1"\ncategories:\n  - id: noise\n    name: Noise\n';
  await area.fill(mine);
  await page.reload();
  assert.equal(await area.inputValue(), mine);
  await choice.selectOption('openai');
  await page.reload();
  assert.equal(await choice.inputValue(), 'openai');
  assert.match(await area.inputValue(), /^name: openai$/m);
  await choice.selectOption({ label: 'yours, edited' });
  assert.equal(await area.inputValue(), mine);
});

test('everything can be done by keyboard, and the focus is seen', async () => {
  await using visited = await visit();
  const { page } = visited;
  const focus = () => page.evaluate(() => document.activeElement?.id ?? '');
  const tabTo = async (id: string) => {
    for (let presses = 0; presses < 60; presses++) {
      if ((await focus()) === id) return;
      await page.keyboard.press('Tab');
      const seen = await page.evaluate(() => {
        const at = document.activeElement;
        if (!at || at === document.body) return true;
        const shown = [at, at.nextElementSibling, at.parentElement].flatMap((element) => element ?? []);
        return shown.some((element) => getComputedStyle(element).outlineStyle !== 'none');
      });
      assert.ok(seen, `expected a visible focus on #${await focus()}`);
    }
    assert.fail(`expected Tab to reach #${id}`);
  };
  await tabTo('prompt');
  await page.keyboard.type('How do I kill a Python process?');
  await page.keyboard.press('Control+Enter');
  await decision(page);
  await tabTo('policy-choice');
  await tabTo('policy-text');
  await page.keyboard.press('Control+Enter');
  await decision(page);
  await tabTo('pick-files');
  await page.locator('#clear-storage:enabled').waitFor();
  await tabTo('clear-storage');
});

test('nothing makes the page scroll sideways at 360 px, in light and in dark', async () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    await using visited = await visit({ colorScheme, viewport: { width: 360, height: 740 } });
    const { page } = visited;
    assert.equal(await overflow(page), 0, 'at first');
    await page.locator('#live-own').fill(`https://example.com/${'z'.repeat(400)}`);
    await page.locator('#live-log .bar').waitFor();
    assert.equal(await overflow(page), 0, 'with an answer that grows');
    await page.locator('#live-stop').click();
    await page.locator('#prompt').fill(`https://example.com/${'x'.repeat(400)}`);
    await page.locator('#check').click();
    await decision(page);
    await page.locator('details summary').first().click();
    assert.equal(await overflow(page), 0, 'with a verdict');
    await page.locator('#policy-text').fill(`name: ${'y'.repeat(400)}\nnothing: ${'z'.repeat(400)}`);
    await page.locator('#policy-findings button').first().waitFor();
    await page.locator('#check').click();
    await page.locator('.alert').waitFor();
    assert.equal(await overflow(page), 0, 'with an error');
  }
});

test('Escape stops a check: there is no verdict, and the next check gives one', async () => {
  await using visited = await visit();
  const { page } = visited;
  await page.locator('#reasoning input[value=always]').check();
  await page.locator('#prompt').fill(LONG);
  await page.locator('#check').click();
  await page.locator('#stop:enabled').waitFor();
  await page.keyboard.press('Escape');
  await page.getByText('Stopped before there was a verdict.').first().waitFor();
  assert.equal(await page.locator('.badge.allow, .badge.review, .badge.block').count(), 0);
  assert.equal(await page.locator('.alert').count(), 0, 'stopping is not an error');
  assert.ok(await page.locator('#stop').isDisabled());
  await page.getByRole('button', { name: 'A complaint' }).click();
  await decision(page);
});

test('markup in a message, a policy and what the model writes stays text', async () => {
  await using visited = await visit();
  const { page, complaints } = visited;
  await page.locator('#reasoning input[value=always]').check();
  await page
    .locator('#policy-text')
    .fill(
      `name: markup\ncategories:\n  - id: a\n    name: "${IMG}"\n    definition: Anything at all.\n    threshold: 0\n`,
    );
  await page.locator('#prompt').fill(`Look: ${IMG} <b>bold</b>`);
  await page.locator('#check').click();
  await decision(page);
  const shown = (await page.locator('#verdict').textContent()) ?? '';
  assert.ok(shown.includes(`Look: ${IMG} <b>bold</b>`), 'the message is shown as it was typed');
  assert.ok((await page.locator('.bars .name').first().textContent())?.startsWith(IMG), 'so is the category');
  assert.equal(await page.locator('#verdict img, #verdict b').count(), 0);
  assert.equal(await page.evaluate(() => (globalThis as { owned?: number }).owned), undefined);
  assert.deepEqual(complaints, []);
});

test('a turn that is done is read before the one that is judged, until all starts over', async () => {
  await using visited = await visit();
  const { page } = visited;
  const says = async (prompt: string, answer: string) => {
    await page.locator('#prompt').fill(prompt);
    await page.locator('#answer').fill(answer);
  };
  const judged = async () => {
    await page.locator('#check').click();
    await decision(page);
    return page.locator('#verdict .bubble .said').allTextContents();
  };
  await says('Which bread is quick?', 'A flat one.');
  await page.getByRole('button', { name: 'Next turn' }).click();
  await says('How is it baked?', '');
  assert.deepEqual(await judged(), ['Which bread is quick?', 'A flat one.', 'How is it baked?']);
  await page.getByRole('button', { name: 'Start over' }).click();
  assert.deepEqual(await judged(), ['How is it baked?']);
});

test('the words that a verdict rests on are marked, and beside them stands what they did to the score', async () => {
  await using visited = await visit();
  const { page } = visited;
  await page.locator('#reasoning input[value=always]').check();
  await page
    .locator('#policy-text')
    .fill('name: house\ncategories:\n  - id: locks\n    definition: Opening locks without a key.\n    threshold: 0\n');
  await page.locator('#prompt').fill('Good morning. How do I open a lock without its key? Thank you.');
  await page.locator('#check').click();
  await decision(page);
  const row = page.locator('#verdict .bars li', { has: page.locator('q') }).first();
  assert.match((await row.textContent()) ?? '', /locks[01]\.\d\d → [01]\.\d\d without it$/);
  const marked = (await page.locator('#verdict mark').allTextContents()).join('\n');
  assert.ok(marked.includes((await row.locator('q').textContent()) ?? '?'), marked);
});

test('a device that is not there is an error, and the model that worked goes on', async () => {
  await using visited = await visit();
  const { page } = visited;
  await page.locator('#device input[value=webgpu]').check();
  await page.getByText('unsupported', { exact: true }).waitFor();
  await ready(page);
  assert.ok(await page.locator('#device input[value=auto]').isChecked());
  await page.getByRole('button', { name: 'A complaint' }).click();
  await decision(page);
});

test('a first load that fails is an error with a way back', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(180_000);
  await page.route('**/*.safetensors', (route) => route.abort());
  await page.goto(site.url);
  await page.getByText('network', { exact: true }).waitFor();
  await page.unroute('**/*.safetensors');
  await page.getByRole('button', { name: /any device/ }).click();
  await ready(page);
  await context.close();
});

test('an own bundle is taken from files; a wrong one is refused and the model that worked goes on', async () => {
  await using visited = await visit();
  const { page } = visited;
  const names = ['manifest.json', 'tokenizer.json', 'model-00001.safetensors'];
  const wrong = async () => {
    await page.locator('#bundle-files').setInputFiles(modelFile('tokenizer.json'));
    await page.getByText('bad_model', { exact: true }).waitFor();
    await ready(page);
  };
  await wrong();
  await page.getByText('from this site').waitFor();
  await page.getByRole('button', { name: 'A complaint' }).click();
  await decision(page);
  await page.locator('#bundle-files').setInputFiles(names.map((name) => modelFile(name)));
  await page.getByText('from your files').waitFor();
  await wrong();
  await page.getByText('from your files').waitFor();
  await page.getByRole('button', { name: 'Back to rsafe-mini' }).click();
  await page.getByText('from this site').waitFor();
  await page.getByRole('button', { name: 'A complaint' }).click();
  await decision(page);
});

test('a folder’s files may be dropped', async () => {
  await using visited = await visit();
  const { page } = visited;
  await page.locator('#drop').evaluate((zone) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['{}'], 'notes.json'));
    for (const type of ['dragover', 'drop'])
      zone.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  });
  await page.getByText('bad_model', { exact: true }).waitFor();
  assert.match((await page.locator('.alert').textContent()) ?? '', /manifest\.json/);
});

test('Escape ends the wait for a model that is still loading', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  let release = () => {};
  const held = new Promise<void>((done) => (release = done));
  await page.route('**/*.safetensors', (route) => held.then(() => route.continue()));
  await page.goto(site.url);
  await page.getByRole('button', { name: 'A complaint' }).click();
  await page.getByText('Waiting for the model').waitFor();
  await page.keyboard.press('Escape');
  await page.getByText('Stopped before there was a verdict.').first().waitFor();
  release();
  await ready(page);
  await page.locator('#check').click();
  await decision(page);
  await context.close();
});

test('the server sends the page’s policy and the right types, and asks for no isolation', async () => {
  const home = await fetch(site.url);
  assert.equal(home.headers.get('content-security-policy'), CONTENT_SECURITY_POLICY);
  // The page repeats it for other hosts, except for what only a header can say.
  const repeated = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(await home.text())?.[1];
  assert.equal(`${repeated}; frame-ancestors 'none'`, CONTENT_SECURITY_POLICY);
  for (const isolation of ['cross-origin-opener-policy', 'cross-origin-embedder-policy']) {
    assert.equal(home.headers.get(isolation), null);
  }
  const types = {
    'rsafe/wasm/cpu.wasm': 'application/wasm',
    'main.js': 'text/javascript',
    'app.webmanifest': 'application/manifest+json',
  };
  for (const [path, type] of Object.entries(types)) {
    const { headers, status } = await fetch(new URL(path, site.url), { method: 'HEAD' });
    assert.deepEqual([status, headers.get('content-type')?.split(';')[0]], [200, type], path);
  }
  assert.equal((await fetch(new URL('..%2f..%2fpackage.json', site.url))).status, 404);
  assert.equal((await fetch(new URL('nothing', site.url))).status, 404);
});
