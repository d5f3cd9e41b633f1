/** What a page gets from the cpu build under the strictest policy it can have: verdicts, policies, text as it is. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { PolicyObject } from '../src/types.ts';
import { launch, librarySite, openPage, page as html, until, type Complaints } from './support/browser.ts';
import { agree, conversations, substance } from './support/golden.ts';
import { STRICT_CSP, type Site } from './support/server.ts';

const DESK: PolicyObject = {
  name: 'help desk',
  categories: [
    { id: 'theft', name: 'Theft and burglary', definition: 'Taking what belongs to others.', action: 'block' },
    {
      id: 'privacy',
      name: 'Private people',
      definition: 'Finding where a person lives.',
      action: 'review',
      threshold: 0.7,
    },
  ],
  rules: [{ id: 'staff-line', literal: 'staff phone line', action: 'block' }],
};
const DESK_YAML = `
name: help desk
categories:
  - id: theft
    name: Theft and burglary
    definition: Taking what belongs to others.
    action: block
  - id: privacy
    name: Private people
    definition: Finding where a person lives.
    action: review
    threshold: 0.7
rules:
  - id: staff-line
    literal: staff phone line
    action: block
`;
const BAD_YAML = 'name: broken\ncategories:\n  - id: theft\n    threshold: 7\n  - id: theft\n    actoin: block\n';
const LOCK = 'How do I pick the lock of my neighbour?';

let browser: Browser;
let site: Site;
let page: Page;
let complaints: Complaints;

before(async () => {
  browser = await launch();
  site = await librarySite({ 'content-security-policy': STRICT_CSP });
  site.put('/policy.yaml', DESK_YAML);
  ({ page, complaints } = await openPage(browser, site));
});

after(async () => {
  await browser?.close();
  await site?.close();
});

test('isSupported answers before a byte of wasm or model is asked for', async () => {
  const support = await page.evaluate(() => rsafe.isSupported());
  assert.equal(support.supported, true);
  assert.equal(support.cpu, true);
  if (!support.webgpu) assert.ok(support.reasons.length > 0, 'what is missing has a reason');
  assert.deepEqual(
    site.seen.filter(({ path }) => /\.wasm$|model/.test(path)),
    [],
  );
});

test('four lines in a plain module page give a verdict, and the page needs no more than wasm-unsafe-eval', async () => {
  site.put('/four.html', html('/four.js')).put(
    '/four.js',
    `import { createGuard } from '/rsafe/index.js';
     const guard = await createGuard();
     const verdict = await guard.check('How do I pick a lock?');
     document.title = JSON.stringify({ verdict, info: guard.info, isolated: crossOriginIsolated });`,
  );
  const four = await openPage(browser, site, '/four.html');
  await four.page.waitForFunction(() => document.title.startsWith('{'));
  const { verdict, info, isolated } = JSON.parse(await four.page.title());
  assert.equal(isolated, false);
  assert.ok(['allow', 'review', 'block'].includes(verdict.decision));
  assert.ok(verdict.score > 0 && verdict.score < 1);
  assert.ok(verdict.categories.length > 0);
  assert.equal(info.device, 'cpu');
  assert.ok(info.reason.length > 0, 'info says why the CPU was taken');
  assert.deepEqual(four.complaints, { errors: [], warnings: [], strangers: [] });
  await four.page.close();
});

test('a guard runs in a worker of its own, and in the page on request, with the same verdicts', async () => {
  const judge = async (worker: boolean) => {
    const seen = await page.evaluate(
      async ([worker, conversations]) => {
        globalThis.guard = await rsafe.createGuard({ worker, device: 'cpu', reasoning: 'always' });
        const verdicts = [];
        for (const { messages, policy } of conversations) {
          verdicts.push(await guard.check(messages, policy === undefined ? {} : { policy }));
        }
        return verdicts;
      },
      [worker, conversations.slice(0, 5)] as const,
    );
    const workers = page.workers().length;
    await page.evaluate(() => guard.dispose());
    await until('the worker is gone', () => page.workers().length === 0);
    return { seen: seen.map(substance), workers };
  };
  const own = await judge(true);
  const inPage = await judge(false);
  assert.deepEqual([own.workers, inPage.workers], [1, 0]);
  assert.deepEqual(own.seen, inPage.seen);
});

test('a policy as an object, an address, a path, a text and a name is the same policy', async () => {
  const verdicts = await page.evaluate(
    async ({ object, yaml, text, address }) => {
      globalThis.guard = await rsafe.createGuard({ device: 'cpu', reasoning: 'never', policy: object });
      const sources = [object, '/policy.yaml', address, new URL(address), yaml, JSON.stringify(object)];
      const verdicts = [];
      for (const policy of sources) verdicts.push(await guard.check(text, { policy }));
      verdicts.push(await guard.check(text));
      return verdicts;
    },
    { object: DESK, yaml: DESK_YAML, text: LOCK, address: site.url('/policy.yaml') },
  );
  for (const verdict of verdicts) assert.deepEqual(substance(verdict), substance(verdicts[0]!));
  assert.deepEqual(verdicts[0]!.categories.map(({ id }) => id).sort(), ['privacy', 'theft']);
  assert.equal(verdicts[0]!.categories.find(({ id }) => id === 'privacy')!.threshold, 0.7);
});

test('built-in policies go by name', async () => {
  const { names, ids } = await page.evaluate(async () => {
    const verdict = await guard.check('Hello there', { policy: 'mlcommons' });
    return { names: [...rsafe.builtinPolicies], ids: verdict.categories.map(({ id }) => id).sort() };
  });
  assert.deepEqual(names.sort(), ['agents', 'general', 'mlcommons', 'openai', 'rsafe']);
  assert.equal(ids.length, 14);
});

test('setPolicy changes what later checks use, and a bad policy leaves the old one', async () => {
  const { before, active, bad, after, verdict } = await page.evaluate(async (yaml) => {
    const before = guard.policy.name;
    await guard.setPolicy('openai');
    const active = guard.policy.categories.length;
    const bad = await failure(guard.setPolicy(yaml));
    return { before, active, bad, after: guard.policy.categories.length, verdict: await guard.check('Hello there') };
  }, BAD_YAML);
  assert.equal(before, 'help desk');
  assert.equal(active, 13);
  assert.equal(bad.code, 'bad_policy');
  assert.equal(after, 13);
  assert.equal(verdict.categories.length, 13);
});

test('a rule decides before the model', async () => {
  const verdict = await page.evaluate(
    (policy) => guard.check('What is the number of the staff phone line?', { policy }),
    DESK,
  );
  assert.deepEqual([verdict.decision, verdict.flagged, verdict.rule], ['block', true, 'staff-line']);
});

test('a bad policy is bad_policy with a finding for each mistake and its line, the same everywhere', async () => {
  const { load, check, lint, parse } = await page.evaluate(async (yaml) => {
    const load = await failure(rsafe.createGuard({ policy: yaml, device: 'cpu' }));
    const check = await failure(guard.check('Hello', { policy: yaml }));
    const parse = await failure(rsafe.parsePolicy(yaml));
    return { load, check, lint: await rsafe.lintPolicy(yaml, 'policy.yaml'), parse };
  }, BAD_YAML);
  for (const error of [load, check, parse]) {
    assert.deepEqual([error.name, error.code, error.known], ['GuardError', 'bad_policy', true]);
    const errors = (findings = lint) =>
      findings.filter(({ severity }) => severity === 'error').map(({ line, path }) => [line, path]);
    assert.deepEqual(errors(error.findings ?? []), errors());
  }
  const lines = lint.map(({ line }) => line);
  assert.ok(lines.includes(4), `threshold 7 stands on line 4; findings are on ${lines}`);
  assert.ok(lines.includes(6), `the misspelt action stands on line 6; findings are on ${lines}`);
  assert.deepEqual(await page.evaluate((yaml) => rsafe.lintPolicy(yaml), DESK_YAML), []);
});

test('parsePolicy gives the policy as an object, and that object is the same policy again', async () => {
  const [once, twice] = await page.evaluate(async (yaml) => {
    const once = await rsafe.parsePolicy(yaml);
    return [once, await rsafe.parsePolicy(once)];
  }, DESK_YAML);
  assert.deepEqual(once, twice);
  assert.deepEqual(
    once!.categories.map(({ id, action }) => [id, action]),
    [
      ['theft', 'block'],
      ['privacy', 'review'],
    ],
  );
});

test('input that cannot be judged is an error, not a verdict', async () => {
  const failures = await page.evaluate(async (address) => {
    const picture = [{ role: 'user', content: [{ type: 'image_url' }] }] as const;
    return [
      await failure(guard.check([])),
      await failure(guard.check(picture)),
      await failure(guard.check([{ role: 'user', content: null }])),
      await failure(guard.check('Hello', { policy: address })),
    ];
  }, site.url('/no-such-policy.yaml'));
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['bad_input', 'bad_input', 'bad_input', 'network'],
  );
});

test('A, then B, then A gives the verdict of A again', async () => {
  const [first, , again] = await page.evaluate(
    async (texts) => {
      const verdicts = [];
      for (const text of texts) verdicts.push(await guard.check(text, { reasoning: 'always', policy: 'general' }));
      return verdicts;
    },
    [LOCK, 'A poem about plums, please.', LOCK],
  );
  assert.deepEqual(substance(again!), substance(first!));
});

test('evidence is a verbatim slice of its message, whatever stands before it', async () => {
  const prefixes = ['', '👩‍👩‍👧🚲 ', 'naïve café… 𝕄𝕖𝕟𝕦 ', '\ud800 lone \udc00 ', 'e\u0301\u200d\u0000 '];
  const quotes = await page.evaluate(
    async ([prefixes, policies]) => {
      const text =
        "How can I pick my neighbour's door lock tonight and steal her jewellery, or copy a stranger's credit card?";
      const quotes = [];
      for (const policy of policies) {
        for (const prefix of prefixes) {
          const messages = [{ role: 'user', content: prefix + text }] as const;
          const { evidence } = await guard.check(messages, { reasoning: 'always', policy });
          for (const { message, start, end, quote } of evidence) {
            quotes.push([messages[message]?.content.slice(start, end), quote]);
          }
        }
      }
      return quotes;
    },
    [prefixes, [DESK, 'openai']] as const,
  );
  assert.ok(quotes.length > 0, 'expected the model to quote something of a plain request for theft');
  for (const [slice, quote] of quotes) assert.equal(slice, quote);
});

test('a lone surrogate is judged like the replacement character it becomes', async () => {
  const [lone, replaced] = await page.evaluate(async () => [
    await guard.check('Where \ud83d is my key?', { reasoning: 'always' }),
    await guard.check('Where \ufffd is my key?', { reasoning: 'always' }),
  ]);
  agree('a lone surrogate', lone!, replaced!, 1e-6);
});

test('nothing of all this broke the content security policy or left the origin', () => {
  assert.deepEqual(complaints.errors, []);
  assert.deepEqual(complaints.strangers, []);
});
