/** Stand-ins for the compiled core, a model and a worker, for rules that need none of the real ones. */

import type { EngineSpec, MonitorPace } from '../src/engine.ts';
import { type Builds, Instances } from '../src/instance.ts';
import type { LocalParts } from '../src/load.ts';
import { LocalEngine } from '../src/local.ts';
import type { Model, ModelSpec } from '../src/model/source.ts';
import type { FromWorker, ToWorker } from '../src/protocol.ts';
import type { WorkerLike } from '../src/remote.ts';
import { serve } from '../src/serve.ts';
import type { GuardEvent, PolicyObject, Verdict } from '../src/types.ts';
import type { WasmGuard, WasmModule, WasmMonitor, WasmRequest } from '../src/wasm.ts';

export const POLICY: PolicyObject = { name: 'own', categories: [{ id: 'a' }] };

export function verdict(decision: Verdict['decision'] = 'allow'): Verdict {
  const usage = { promptTokens: 1, cachedTokens: 0, answerTokens: 0, firstTokenMs: 0, verdictMs: 0 };
  const flagged = decision !== 'allow';
  return {
    decision,
    tier: flagged ? (decision === 'block' ? 'block' : 'attention') : 'clear',
    flagged,
    score: flagged ? 0.9 : 0.1,
    categories: [],
    evidence: [],
    reasoning: null,
    unreadable: 0,
    notes: [],
    rule: null,
    usage,
  };
}

/** What the fake core did, and what it shall do. */
export interface FakeCore {
  module: WasmModule;
  /** Pieces of reasoning of each check. */
  pieces: number;
  /** Texts in the order in which they were judged. */
  judged: string[];
  /** Pieces of reasoning written. */
  written: number;
  /** Checks that run now, and the most that ever did. */
  running: number;
  most: number;
  guards: number;
  monitors: number;
  loads: number;
  resets: number;
  requests: WasmRequest[];
  /** What monitors were opened with, and what they were called for. */
  paces: MonitorPace[];
  pushes: string[];
  /** Whether a push is never checked, as if no sentence ended. */
  patient: boolean;
  /** Thrown by the next check, push or load. */
  failNext: unknown;
}

export const trap = () => new WebAssembly.RuntimeError('unreachable');

/** A text with `bad` in it is blocked, one with `odd` in it is for review. */
export function fakeCore(pieces = 3): FakeCore {
  const fail = () => {
    const error = core.failNext;
    core.failNext = undefined;
    if (error !== undefined) throw error;
  };
  const text = (request: WasmRequest) => String(request.messages.at(-1)?.content ?? '');
  const judge = (words: string) =>
    verdict(words.includes('bad') ? 'block' : words.includes('odd') ? 'review' : 'allow');

  class Guard implements WasmGuard {
    readonly model = 'fake';
    constructor() {
      core.guards++;
    }
    policy = () => POLICY;
    async check(request: WasmRequest, onEvent?: (event: GuardEvent) => unknown): Promise<Verdict | undefined> {
      core.requests.push(request);
      core.running++;
      core.most = Math.max(core.most, core.running);
      try {
        await null;
        fail();
        for (let piece = 0; piece < core.pieces; piece++) {
          core.written++;
          if ((await onEvent?.({ type: 'reasoning', text: `${piece} ` })) === false) return undefined;
        }
        core.judged.push(text(request));
        const result = judge(text(request));
        await onEvent?.({ type: 'verdict', verdict: result });
        return result;
      } finally {
        core.running--;
      }
    }
    monitor(request: WasmRequest, pace: MonitorPace): WasmMonitor {
      core.requests.push(request);
      core.paces.push(pace);
      const { releaseOnReview } = pace;
      core.monitors++;
      let all = '';
      let shown = 0;
      const step = async (what: keyof WasmMonitor) => {
        const end = what === 'finish';
        core.pushes.push(what);
        await null;
        fail();
        const result = judge(all);
        const passes = result.decision === 'allow' || (result.decision === 'review' && releaseOnReview);
        if (!passes) return { released: '', verdict: result, blocked: true };
        // As the core, which knows no half characters.
        const back = /[\ud800-\udbff]/.test(all.at(-4) ?? '') ? 4 : 3;
        const until = end ? all.length : Math.max(shown, all.length - back);
        const released = all.slice(shown, until);
        shown = until;
        return { released, verdict: result, blocked: false };
      };
      return {
        push: async (more) => {
          all += more;
          if (!core.patient) return step('push');
          core.pushes.push('push');
          return { released: '', blocked: false };
        },
        checkNow: () => step('checkNow'),
        finish: () => step('finish'),
        free: () => void core.monitors--,
      };
    }
    selfTest() {
      return null;
    }

    free(): void {
      core.guards--;
    }
  }

  const core: FakeCore = {
    pieces,
    judged: [],
    written: 0,
    running: 0,
    most: 0,
    guards: 0,
    monitors: 0,
    loads: 0,
    resets: 0,
    requests: [],
    paces: [],
    pushes: [],
    patient: false,
    failNext: undefined,
    module: {
      default: async () => undefined,
      WasmGuard: {
        load: async (_manifest, read) => {
          await read('weights.safetensors');
          fail();
          core.loads++;
          return new Guard();
        },
      },
      parsePolicy: (words) => {
        if (words.includes('mistake'))
          throw Object.assign(new Error('line 1: a mistake'), { code: 'bad_policy', findings: [{}] });
        return { name: words.slice(0, 20), categories: [] };
      },
      builtinPolicy: (name) => ({ name, categories: [] }),
      lintPolicy: () => [],
      __wbg_reset_state: () => {
        core.resets++;
        // What was in the instance is gone with it.
        core.guards = core.monitors = 0;
      },
    },
  };
  return core;
}

/** Resolves when the condition holds. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

export function fakeModel(): Model {
  const files = [{ name: 'weights.safetensors', size: 3, sha256: '0'.repeat(64) }];
  return {
    manifest: { name: 'fake', files, total: 3, bytes: new Uint8Array(2) },
    source: 'files',
    async read(_name, { onBytes }) {
      onBytes?.(3, false);
      return new Uint8Array(3);
    },
  };
}

export function fakeParts(core: FakeCore, model: () => Promise<Model> = async () => fakeModel()): LocalParts {
  const builds: Builds = {
    glue: async () => core.module,
    code: () => WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])),
  };
  return { instances: new Instances(builds), withoutGpu: 'there is no WebGPU here', open: model };
}

/** A model that nobody looks into. */
export const MODEL: ModelSpec = { kind: 'package', name: 'fake', manifest: '{}', files: {} };
export const ownModel = async (): Promise<ModelSpec> => MODEL;

export const SPEC: EngineSpec = {
  model: MODEL,
  device: 'cpu',
  onError: 'block',
  cache: false,
  offline: false,
  allowUntested: false,
};

/** A worker that is no thread: messages are copied and delivered later, as between threads. */
export class FakeWorker extends EventTarget implements WorkerLike {
  static started: FakeWorker[] = [];
  alive = true;
  #take: (message: ToWorker) => void;

  constructor(core: FakeCore) {
    super();
    FakeWorker.started.push(this);
    this.#take = serve(
      (message) => this.#say(message),
      (spec, hooks) => LocalEngine.load(fakeParts(core), spec, hooks),
    );
    this.#say({ type: 'hello', lock: undefined });
  }

  postMessage(message: unknown): void {
    const copy = structuredClone(message) as ToWorker;
    setImmediate(() => this.alive && this.#take(copy));
  }

  terminate(): void {
    this.alive = false;
  }

  /** Dies as a worker does whose script throws. */
  die(message: string): void {
    this.dispatchEvent(Object.assign(new Event('error'), { message }));
  }

  #say(message: FromWorker): void {
    const data = structuredClone(message);
    setImmediate(() => this.alive && this.dispatchEvent(Object.assign(new Event('message'), { data })));
  }
}
