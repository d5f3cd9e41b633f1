/** What the worker imports of the package, from its sources: in the repository it need not be built to be checked. */

declare module 'rsafe/workerd' {
  type Types = typeof import('../src/workerd.ts');
  export const createGuard: Types['createGuard'];
  export const builtinPolicies: Types['builtinPolicies'];
  export const isAddress: Types['isAddress'];
  export const toOpenAI: Types['toOpenAI'];
  export type CheckOptions = import('../src/types.ts').CheckOptions;
  export type Guard = import('../src/types.ts').Guard;
  export type GuardEvent = import('../src/types.ts').GuardEvent;
  export type Input = import('../src/types.ts').Input;
  export type Message = import('../src/types.ts').Message;
  export type PolicyObject = import('../src/types.ts').PolicyObject;
  export type PolicySource = import('../src/types.ts').PolicySource;
  export type Reasoning = import('../src/types.ts').Reasoning;
  export type Target = import('../src/types.ts').Target;
  export type Verdict = import('../src/types.ts').Verdict;
}

declare module 'rsafe/held' {
  type Types = typeof import('../src/held.ts');
  export const asking: Types['asking'];
  export const isBlocked: Types['isBlocked'];
  export const Judge: Types['Judge'];
  export const judgeAnswer: Types['judgeAnswer'];
  export const Lane: Types['Lane'];
  export const Passed: Types['Passed'];
  export const plainly: Types['plainly'];
  export const readEvents: Types['readEvents'];
  export const refusalEvents: Types['refusalEvents'];
  export const relay: Types['relay'];
  export const responses: Types['responses'];
  export const Sight: Types['Sight'];
  export const writeEvent: Types['writeEvent'];
  export type Ends = import('../src/held.ts').Ends;
  export type Judge<Where> = import('../src/held.ts').Judge<Where>;
  export type Lane<Out> = import('../src/held.ts').Lane<Out>;
  export type LaneFrame = import('../src/held.ts').LaneFrame;
  export type Passed = import('../src/held.ts').Passed;
  export type Said = import('../src/held.ts').Said;
  export type Sight = import('../src/held.ts').Sight;
  export type StreamEvent = import('../src/held.ts').StreamEvent;
  export type StreamReader = import('../src/held.ts').StreamReader;
}

declare module 'rsafe/walk' {
  type Types = typeof import('../src/walk.ts');
  export const asRead: Types['asRead'];
  export const byPlace: Types['byPlace'];
  export const ends: Types['ends'];
  export const isWordless: Types['isWordless'];
  export const sideBySide: Types['sideBySide'];
  export const runsOf: Types['runsOf'];
  export const walk: Types['walk'];
  export const Unreadable: Types['Unreadable'];
  export type Piece = import('../src/walk.ts').Piece;
  export type Run = import('../src/walk.ts').Run;
  export type Spoken = import('../src/walk.ts').Spoken;
  export type WalkOptions = import('../src/walk.ts').WalkOptions;
}

declare module 'rsafe/cpu.wasm' {
  const module: WebAssembly.Module;
  export default module;
}
