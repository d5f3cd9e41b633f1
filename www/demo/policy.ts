/** The policy editor: built-in policies to start from, line numbers, and what the linter says while somebody types. What
 * was edited stays in this tab, over reloads too. */

import { builtinPolicies, lintPolicy } from '../src/index.ts';
import type { Finding, PolicyObject, PolicySource } from '../src/index.ts';
import agents from '../../src/policy/builtin/agents.yaml';
import general from '../../src/policy/builtin/general.yaml';
import mlcommons from '../../src/policy/builtin/mlcommons.yaml';
import openai from '../../src/policy/builtin/openai.yaml';
import rsafe from '../../src/policy/builtin/rsafe.yaml';
import { byId, make, withCode } from './dom.ts';
import { samplePolicy } from './samples.ts';

const TEXTS: Readonly<Record<string, string>> = { agents, general, mlcommons, openai, rsafe };
const MODELS_OWN = '';
const SAMPLE = ' sample';
const EDITED = ' edited';
const LINT_AFTER_MS = 200;
/** Where the tab keeps the choice and the edited text. */
const KEPT = 'rsafe-policy';

const choice = byId<HTMLSelectElement>('policy-choice');
const area = byId<HTMLTextAreaElement>('policy-text');
const gutter = byId('policy-lines');
const summary = byId('policy-summary');

/** The text of the loaded model's own policy. */
let modelsOwn = general;
/** The visitor's own text, once there is one. */
let edited: string | undefined;
let lintTimer: ReturnType<typeof setTimeout> | undefined;
let lints = 0;

/** The policy of the next check: none where the model's own is chosen, a built-in one by its name, else the text. */
export function activePolicy(): PolicySource | undefined {
  if (choice.value === MODELS_OWN) return undefined;
  return isBuiltin() ? choice.value : area.value;
}

export function startPolicy(): void {
  choice.append(
    option(MODELS_OWN, 'the model’s own'),
    ...builtinPolicies.filter((name) => name in TEXTS).map((name) => option(name, name)),
  );
  choice.append(option(SAMPLE, 'an example to edit'));
  choice.addEventListener('change', () => {
    fill();
    keep();
  });
  area.addEventListener('input', () => {
    edit(area.value);
    choice.value = EDITED;
    keep();
    number();
    clearTimeout(lintTimer);
    lintTimer = setTimeout(() => void lint(), LINT_AFTER_MS);
  });
  area.addEventListener('scroll', () => (gutter.scrollTop = area.scrollTop));
  restore();
  fill();
}

/** Takes the policy that a model brings, and shows it where the model's own is chosen. */
export function setModelPolicy(policy: PolicyObject): void {
  // JSON is a form of policy file too.
  modelsOwn = TEXTS[policy.name] ?? JSON.stringify(policy, null, 2);
  if (choice.value === MODELS_OWN && area.value !== modelsOwn) fill();
}

/** Takes the visitor's own text, and offers it beside the others. */
function edit(text: string): void {
  if (edited === undefined) choice.append(option(EDITED, 'yours, edited'));
  edited = text;
}

function keep(): void {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ chosen: choice.value, edited }));
  } catch {
    // A browser that keeps nothing: the page works all the same.
  }
}

function restore(): void {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? '{}') as { chosen?: unknown; edited?: unknown };
    if (typeof kept.edited === 'string') edit(kept.edited);
    const known = [...choice.options].find(({ value }) => value === kept.chosen);
    if (known) known.selected = true;
  } catch {
    // As above.
  }
}

function option(value: string, text: string): HTMLOptionElement {
  const element = make('option', '', text);
  element.value = value;
  return element;
}

/** Whether the text is as it came with the package. */
function isBuiltin(): boolean {
  return choice.value !== SAMPLE && choice.value !== EDITED;
}

/** What the choice fills the editor with. */
function textOfChoice(): string {
  if (choice.value === MODELS_OWN) return modelsOwn;
  if (choice.value === SAMPLE) return samplePolicy;
  return choice.value === EDITED ? (edited ?? '') : (TEXTS[choice.value] ?? '');
}

function fill(): void {
  area.value = textOfChoice();
  area.scrollTop = 0;
  number();
  void lint();
}

function number(bad: ReadonlySet<number> = new Set()): void {
  const lines = area.value.split('\n').length;
  gutter.replaceChildren(
    ...Array.from({ length: lines }, (_, i) => make('span', bad.has(i + 1) ? 'bad' : '', `${i + 1}\n`)),
  );
  gutter.scrollTop = area.scrollTop;
}

async function lint(): Promise<void> {
  const turn = ++lints;
  const builtin = isBuiltin();
  // A built-in policy is as it is meant to be: `general` has no definitions on purpose.
  const findings = builtin ? [] : await lintPolicy(area.value).catch((error: unknown) => [unlinted(error)]);
  if (turn !== lints) return;
  const errors = findings.filter((finding) => finding.severity === 'error');
  const warnings = findings.length - errors.length;
  if (builtin) summary.textContent = 'Built in.';
  else if (findings.length === 0) summary.textContent = 'No mistakes.';
  else summary.textContent = [count(errors.length, 'mistake'), count(warnings, 'doubt')].filter(Boolean).join(', ');
  area.setAttribute('aria-invalid', String(errors.length > 0));
  byId('policy-findings').replaceChildren(...findings.map(item));
  number(new Set(errors.flatMap(({ line }) => line ?? [])));
}

function count(n: number, noun: string): string {
  return n === 0 ? '' : `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** The linter itself failed, e.g. because the engine could not start. */
function unlinted(error: unknown): Finding {
  const message = error instanceof Error ? error.message : String(error);
  return {
    severity: 'warning',
    path: '',
    expected: 'a policy that can be read',
    found: `no answer: ${message}`,
    message,
  };
}

/** A message as a button that takes the caret to its place. */
function item(finding: Finding): HTMLLIElement {
  const { severity, line, path, expected, found, help } = finding;
  const text = `${path ? `${path}: ` : ''}expected ${expected}, found ${found}${help ? ` (${help})` : ''}`;
  const go = make(
    'button',
    severity,
    make('strong', '', severity === 'error' ? 'Mistake' : 'Doubt'),
    line ? make('span', 'line', ` line ${line}`) : '',
    ' ',
    ...withCode(text),
  );
  go.type = 'button';
  go.addEventListener('click', () => goTo(finding));
  return make('li', '', go);
}

function goTo({ line = 1, column = 1 }: Finding): void {
  const lines = area.value.split('\n');
  const before = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  // The column counts characters, the caret UTF-16 units.
  const at = before + [...(lines[line - 1] ?? '')].slice(0, column - 1).join('').length;
  area.focus();
  area.setSelectionRange(at, before + (lines[line - 1] ?? '').length);
  const height = Number.parseFloat(getComputedStyle(area).lineHeight);
  area.scrollTop = Math.max(0, (line - 3) * height);
}
