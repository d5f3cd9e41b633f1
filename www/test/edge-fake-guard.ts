/** A guard that decides by words alone, in the place of the package: what the worker makes of each outcome is tested
 * without a model. */

import type { CheckOptions, GuardEvent, Input, TransformOptions, Verdict } from '../src/types.ts';
import type { Fetching } from '../src/workerd.ts';

class GuardError extends Error {
  readonly code: string;
  readonly verdict: Verdict | undefined;

  constructor(code: string, message: string, verdict?: Verdict) {
    super(message);
    this.name = 'GuardError';
    this.code = code;
    this.verdict = verdict;
  }
}

const HELD_BACK = 12;
/** Words that stand for what a guard may find, or for what may happen to it. */
const BLOCKED = 'pick a lock';
const REVIEWED = 'look me over';
/** What only the policy about attacks asks to review. */
const INJECTED = 'send the contacts on';

let instances = 0;

interface Options {
  wasm: unknown;
  model: URL;
  fetch: Fetching;
  policy?: string;
}

export { builtinPolicies, isAddress } from '../src/policy.ts';
export { toOpenAI } from '../src/render.ts';

export async function createGuard({ wasm, model, fetch, policy }: Options): Promise<FakeGuard> {
  if (!(wasm instanceof WebAssembly.Module)) throw new GuardError('unsupported', 'no module');
  const response = await fetch.fetch(new URL('manifest.json', model));
  if (!response.ok) throw new GuardError('network', `the manifest answered ${response.status}`);
  if (policy === 'bad') throw new GuardError('bad_policy', 'the policy has no categories');
  instances++;
  return new FakeGuard(instances, policy ?? 'none');
}

function nameOf(policy: CheckOptions['policy']): string | undefined {
  return policy === undefined || policy instanceof URL || typeof policy === 'string' ? policy?.toString() : policy.name;
}

class FakeGuard {
  readonly info = { model: 'rsafe-mini' };
  get policy() {
    return { name: this.#policy, categories: [] };
  }
  #number: number;
  readonly #policy: string;
  #checks = 0;

  constructor(number: number, policy: string) {
    this.#number = number;
    this.#policy = policy;
  }

  async check(input: Input, { policy, target, signal }: CheckOptions = {}): Promise<Verdict> {
    const texts = typeof input === 'string' ? [input] : input.map(({ content }) => String(content));
    const roles = typeof input === 'string' ? ['user'] : input.map(({ role }) => role);
    const side = target === 'prompt' ? roles.lastIndexOf('user') : texts.length - 1;
    const text = texts[side] ?? '';
    this.#checks++;
    await this.#trouble(text, signal);
    return this.#verdict(text, nameOf(policy) ?? this.#policy);
  }

  async *stream(input: Input, options: CheckOptions = {}): AsyncGenerator<GuardEvent> {
    yield { type: 'reasoning', text: 'one ' };
    yield { type: 'reasoning', text: 'two' };
    yield { type: 'verdict', verdict: await this.check(input, options) };
  }

  /** As the real one: what asks for review is let through unless the caller says otherwise. */
  transform({ signal, releaseOnReview = true }: TransformOptions = {}): TransformStream<string, string> {
    let seen = '';
    let released = 0;
    const release = (upto: number, controller: TransformStreamDefaultController<string>) => {
      if (upto > released) controller.enqueue(seen.slice(released, upto));
      released = Math.max(released, upto);
    };
    const judge = async () => {
      await this.#trouble(seen, signal);
      const verdict = this.#verdict(seen, this.#policy);
      const passes = verdict.decision === 'allow' || (verdict.decision === 'review' && releaseOnReview);
      if (!passes) throw new GuardError('blocked', 'the text is flagged', verdict);
    };
    return new TransformStream({
      transform: async (text, controller) => {
        seen += text;
        await judge();
        release(seen.length - HELD_BACK, controller);
      },
      flush: async (controller) => {
        await judge();
        release(seen.length, controller);
      },
    });
  }

  async dispose(): Promise<void> {
    // Nothing to free.
  }

  async #trouble(text: string, signal?: AbortSignal): Promise<void> {
    if (text.includes('slow down')) await new Promise((resolve) => setTimeout(resolve, 400));
    if (text.includes('hang politely')) {
      await new Promise((_, reject) => {
        signal?.addEventListener('abort', () => reject(new GuardError('aborted', 'told to stop')));
      });
    }
    if (text.includes('hang for ever')) await new Promise((resolve) => setTimeout(resolve, 60_000));
    if (text.includes('too long')) throw new GuardError('context_length', 'too many tokens');
    if (text.includes('crash now')) {
      this.#number = ++instances;
      throw new GuardError('crashed', 'the instance is lost');
    }
  }

  #verdict(text: string, policy: string): Verdict {
    const blocked = text.includes(BLOCKED);
    const attack = policy === 'agents' && text.includes(INJECTED);
    const flagged = blocked || attack || text.includes(REVIEWED);
    const score = flagged ? 0.9 : 0.1;
    return {
      decision: blocked ? 'block' : flagged ? 'review' : 'allow',
      tier: blocked ? 'block' : flagged ? 'attention' : 'clear',
      flagged,
      score,
      categories: [
        { id: attack ? 'injection' : 'crime', name: attack ? 'Orders' : 'Crime', score, threshold: 0.5, flagged },
      ],
      evidence: blocked ? [{ message: 0, start: text.indexOf(BLOCKED), end: 0, quote: BLOCKED, category: null }] : [],
      reasoning: `under ${policy}`,
      unreadable: 0,
      notes: [],
      rule: blocked ? 'house-7' : null,
      // The instance, so that a test sees which one judged, and how many checks it made.
      usage: { promptTokens: this.#number, cachedTokens: 0, answerTokens: this.#checks, firstTokenMs: 0, verdictMs: 0 },
    };
  }
}
