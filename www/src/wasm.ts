/** What the compiled Rust exports, the same in `cpu.js` and `webgpu.js`. Written by hand: wasm-bindgen's own types say
 * `any` where objects cross. */

import type { MonitorPace } from './engine.ts';
import type {
  Finding,
  GuardEvent,
  Message,
  PolicyLimits,
  PolicyObject,
  Reasoning,
  SelfTest,
  Target,
  Verdict,
} from './types.ts';

export interface WasmLoadOptions {
  onError: 'block' | 'review';
  /** Tokens; absent: as much as any text that the model takes. */
  maxWork?: number | undefined;
  /** Whether a bundle without a self-test that counts is loaded. */
  allowUntested: boolean;
}

export interface WasmRequest {
  messages: readonly Message[];
  /** A policy as JSON text; absent: the bundle's own. Parsed once while it is in use. */
  policy?: string | undefined;
  /** Whose limits its rules have; absent: the owner's. */
  policyLimits?: PolicyLimits | undefined;
  target?: Target | undefined;
  reasoning: Reasoning;
  /** In [0, 1]; absent: 0.5, the bundle's thresholds as they are. */
  strictness?: number | undefined;
}

/** Between the stretches of a long text comes an event with nothing to show. */
export type WasmEvent = GuardEvent | { type: 'reading' };

export interface WasmGuard {
  /** The bundle's manifest name. */
  readonly model: string;
  /** How the model did in its self-test; null where it was loaded without one. */
  selfTest(): SelfTest | null;
  /** The bundle's own policy. */
  policy(): PolicyObject;
  /** Judges. `onEvent` gets each piece of reasoning and then the verdict; a returned promise is awaited before the
   * next piece, and `false` (or a promise of it) ends the check, which then resolves to `undefined`. */
  check(request: WasmRequest, onEvent?: (event: WasmEvent) => unknown): Promise<Verdict | undefined>;
  /** Starts judging a growing response. */
  monitor(request: WasmRequest, options: MonitorPace): WasmMonitor;
  free(): void;
}

/** What `onReading` returns is awaited between the steps of reading, some 40 ms apart; what it throws ends the call and
 * closes the monitor. */
export interface WasmMonitor {
  /** More of the response: the text that may be shown now, and the verdict if it was checked or ended it. After a
   * verdict that blocks, nothing is released any more; one that asks for review blocks or is reported only, as the pace
   * says. */
  push(text: string, onReading?: () => unknown): Promise<{ released: string; verdict?: Verdict; blocked: boolean }>;
  /** The same without more of it: what is new is checked before its sentence has ended. */
  checkNow(onReading?: () => unknown): Promise<{ released: string; verdict?: Verdict; blocked: boolean }>;
  /** The end of the response: the rest, if it may be shown, and the verdict on all of it. */
  finish(onReading?: () => unknown): Promise<{ released: string; verdict: Verdict; blocked: boolean }>;
  free(): void;
}

/** Errors thrown by these functions are `Error`s with a `code` (and `findings` where the code is `bad_policy`); a
 * `WebAssembly.RuntimeError` means that the instance is lost. */
export interface WasmModule {
  /** Instantiates. Once only: another instance needs another copy of the module (see `instance.ts`). */
  default(options: {
    module_or_path: WebAssembly.Module | Promise<Response> | Response | BufferSource;
  }): Promise<unknown>;
  WasmGuard: {
    /** `read` gives a file of the bundle by the name that the manifest has; each is asked for once. */
    load(
      manifest: Uint8Array,
      read: (name: string) => Promise<Uint8Array>,
      options: WasmLoadOptions,
    ): Promise<WasmGuard>;
  };
  /** Reads a policy file's text (YAML, JSON or Markdown); `fileName` helps to tell the format, and its rules have
   * the owner's limits if no others are named. */
  parsePolicy(text: string, fileName?: string, limits?: PolicyLimits): PolicyObject;
  builtinPolicy(name: string): PolicyObject;
  /** Every mistake and every doubtful place; none for a clean policy. */
  lintPolicy(text: string, fileName?: string): Finding[];
  /** Throws the instance away; `default` then makes a new one. */
  __wbg_reset_state?(): void;
}
