/** What is text in requests and answers of models, for whoever stands between them: the worker at the edge, adapters. */

export { walk, type WalkOptions } from './walk/fields.ts';
export { asRead, ends, isWordless } from './walk/reading.ts';
export { type Run, type Spoken, runsOf } from './walk/transcript.ts';
export { byPlace, type Piece, sideBySide, Unreadable } from './walk/walk.ts';
